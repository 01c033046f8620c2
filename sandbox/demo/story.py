"""The story of the demo, in the order of the main job.

Run by `python -m sandbox.demo` and by the end-to-end test. Each chapter acts as the person who
would act (the architect, the approver, the customer's administrator, an engineer) through the
public interfaces only, and returns what it read back from the system.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from proof.certificates import CertificateError, verify_certificate
from ringfence.cli.access import run_verification
from ringfence.cli.organization_file import OrganizationFile
from ringfence.client import Api, Context
from sandbox.cli import start
from sandbox.demo.customer_side import Customer
from sandbox.demo.engineer import ask, ask_for_foreign_model
from sandbox.demo.facts import boundary_result, closing_facts, creates, one_line
from sandbox.demo.live import follow_runs
from sandbox.demo.result import DemoResult, Use
from sandbox.demo.scene import DemoError, Scene, require
from sandbox.demo.screen import OK, Screen
from sandbox.home import Home, write_private
from sandbox.identity_provider.settings import PASSWORD
from sandbox.people import PEOPLE
from wire.certificate import CertificateFile

ARCHITECT, APPROVER = "sam@acme.test", "ana@acme.test"
ENGINEERS = {"payments": "pia@acme.test", "research": "rui@acme.test"}
PROMPT = "Write a function that checks a record."
GRANT_HOURS = 2
SLOW_STEPS = ("foundation", "cluster", "stack", "ready")
"""The steps of the critical path that a person waits for."""
SIGN_IN_AS = 6
"""So many of the people are shown at the end: one per role."""
WRONG_PIN = "SHA256:" + "A" * 43


class Story:
    """The demo on one organization file; `play` runs it all."""

    def __init__(
        self,
        home: Home,
        file: Path,
        output: Path,
        screen: Screen,
        time_scale: float | None = None,
    ) -> None:
        self._home = home
        self._file = file
        self._output = output
        self._screen = screen
        self._time_scale = time_scale
        self._scenes: list[Scene] = []
        self._pin = ""

    def play(self) -> DemoResult:
        """Run every chapter. Raises: DemoError, SandboxError, ApiError at the first that fails."""
        begun = time.monotonic()
        shown: set[str] = set()
        record = start(self._home, lambda now: self._screen.parts(now, shown), self._time_scale)
        sandbox_seconds = time.monotonic() - begun
        facts = record["facts"]
        self._screen.heading("", f"emulated: {facts['emulated']}.  real: {facts['real']}.")
        self._screen.gap()
        self._architect = Api(Context.load(ARCHITECT))
        self._approver = Api(Context.load(APPROVER))
        started = time.monotonic()
        self._describe()
        self._role(facts)
        self._grant()
        self._plan()
        self._install()
        self._certificates()
        result = self._result(facts, time.monotonic() - started, sandbox_seconds)
        self._ending(result)
        return result

    # Chapter 1 and 2: the organization, and the one role, closed.

    def _describe(self) -> None:
        parsed = OrganizationFile(self._file)
        document = parsed.document()
        name = document["organization"]
        # Applying the same file again changes nothing: the demo may run twice.
        self._administrator().put(f"/v1/organizations/{name}", document)
        accounts = {a["name"]: a["account"] for a in document["accounts"]}
        self._require_fresh()
        for entry in document["boundaries"]:
            seen = self._architect.get(f"/v1/boundaries/{entry['name']}")
            self._scenes.append(
                Scene(
                    name=entry["name"],
                    boundary_id=seen["id"],
                    account=accounts[entry["target"]["account"]],
                    region=entry["target"]["region"],
                    adapter=entry["models"]["adapters"][0],
                    group=entry["groups"][0],
                )
            )
        self._screen.heading(
            "Organization",
            f"{name}   {self._file.name}   {len(self._scenes)} boundaries, {len(accounts)} account",
        )
        for entry in document["boundaries"]:
            self._screen.heading(
                "",
                f"{entry['name']:<10} {entry['blueprint']} {entry['version']}   "
                f"base {entry['models']['base']}   adapter {entry['models']['adapters'][0]}   "
                f"group {entry['groups'][0]}",
            )
        self._screen.gap()

    def _require_fresh(self) -> None:
        installs = self._architect.get("/v1/installs")["installs"]
        require(
            not installs,
            "this sandbox holds installs already; look at them: ringfence install list. "
            "To play the whole story again: ringfence reset --yes && make demo",
        )

    def _administrator(self) -> Api:
        return Api(Context.load("max@acme.test"))

    def _role(self, facts: dict[str, Any]) -> None:
        self._customer = Customer.of(self._home, facts["aws_endpoint_url"], self._scenes[0].region)
        for scene in self._scenes:
            connection = self._architect.get(f"/v1/boundaries/{scene.name}/connection")
            scene.connection_id = connection["id"]
            scene.template = self._architect.get(f"/v1/connections/{connection['id']}/template")
            self._customer.create_stack(
                scene.name, scene.template["template"], scene.template["parameters"]
            )
            scene.closed = self._verify(scene, "closed", None)
        self._screen.heading(
            "Role",
            "one per boundary, from the generated template; closed: "
            f"{self._attempts(self._scenes[0].closed)}",
        )

    def _verify(self, scene: Scene, expect: str, grant: str | None) -> list[dict[str, Any]]:
        result = run_verification(self._architect, scene.connection_id, expect, grant)
        require(
            bool(result["passed"]),
            f"{scene.name}: the role is not {expect}: {result['attempts']} {result.get('error')}",
        )
        attempts: list[dict[str, Any]] = result["attempts"]
        return attempts

    @staticmethod
    def _attempts(attempts: list[dict[str, Any]]) -> str:
        return ", ".join(
            f"{a['external_id']} {'allowed' if a['allowed'] else 'denied'} {OK}" for a in attempts
        )

    # Chapter 3: a grant, asked by one person, approved by another, opened by the customer.

    def _grant(self) -> None:
        for scene in self._scenes:
            asked = self._architect.post(
                f"/v1/boundaries/{scene.name}/grants",
                {
                    "purpose": "first install",
                    "reason": "install the model stack of the demo",
                    "duration_seconds": GRANT_HOURS * 3600,
                    "ticket": "ACME-1",
                },
            )
            grant = self._approver.post(
                f"/v1/grants/{asked['id']}/approve", {"reason": "agreed for the demo"}
            )
            self._customer.open_role(
                scene.name, {**scene.template["parameters"], **grant["stack_parameters"]}
            )
            scene.opened = self._verify(scene, "open", asked["id"])
            scene.grant = self._architect.get(f"/v1/grants/{asked['id']}")
            require(scene.grant["state"] == "active", f"{scene.name}: the grant is not active")
        self._screen.heading(
            "",
            f"opened by the customer: g{self._scenes[0].grant['number']} until "
            f"{self._scenes[0].grant['grant_until'][11:16]} UTC; "
            f"{self._attempts(self._scenes[0].opened)}",
        )
        grants = "   ".join(f"{s.name} {s.grant['id'][-6:]}" for s in self._scenes)
        self._screen.heading(
            "Grant", f'{grants}   "first install"   asked by {ARCHITECT}   approved by {APPROVER}'
        )

    # Chapter 4: the plans.

    def _plan(self) -> None:
        for scene in self._scenes:
            begun = self._architect.post(
                "/v1/installs",
                # Blueprint, version and inputs are those of the organization's file.
                {"boundary": scene.name, "grant_id": scene.grant["id"]},
            )
            scene.install_id, scene.run_id = begun["install_id"], begun["run_id"]
        for scene in self._scenes:
            scene.key = self._gateway_key(scene)
        for scene in self._scenes:
            self._wait_for_state(scene, "awaiting-approval")
            scene.planned = self._architect.get(f"/v1/runs/{scene.run_id}")["plan"]
            scene.plan = self._architect.get(f"/v1/runs/{scene.run_id}/plan")
            self._approver.post(
                f"/v1/runs/{scene.run_id}/approve",
                {"digest": scene.plan["digest"], "reason": "read and agreed"},
            )
        counts = "   ".join(
            f"{s.name} {s.plan['digest'][7:13]}  {creates(s)} to create" for s in self._scenes
        )
        run = self._architect.get(f"/v1/runs/{self._scenes[0].run_id}")
        path = " → ".join(k for k in run["critical_path"]["keys"] if k in SLOW_STEPS)
        self._screen.heading(
            "Plan", counts, f"critical path: {path}    both approved by {APPROVER}"
        )
        self._screen.gap()

    def _gateway_key(self, scene: Scene) -> str:
        engineer = Api(Context.load(ENGINEERS[scene.name]))
        made = engineer.post(
            f"/v1/boundaries/{scene.name}/gateway-keys",
            {"group": scene.group, "owner": ENGINEERS[scene.name]},
        )
        folder = self._home.secrets / "gateway-keys"
        folder.mkdir(exist_ok=True, mode=0o700)
        write_private(folder / scene.name, made["key"])
        key: str = made["key"]
        return key

    def _wait_for_state(self, scene: Scene, wanted: str) -> None:
        for event in self._architect.run_events(scene.run_id):
            if event["kind"] != "run.state":
                continue
            if event["state"] == wanted:
                return
            if event["state"] not in ("queued", "planning", "running"):
                raise DemoError(self._why(scene))

    def _why(self, scene: Scene) -> str:
        """Return what went wrong in a run, with the step's own words and what to do next."""
        run = self._architect.get(f"/v1/runs/{scene.run_id}")
        step = next((s for s in run["steps"] if s["key"] == run["at_fault"]), None)
        words = step["error_message"] if step else run["parked_reason"] or run["error_message"]
        place = f"{run['at_fault']}: " if run["at_fault"] else ""
        return (
            f"{scene.name}: the run is {run['state']}: {place}{words}\n"
            f"    next   ringfence run watch {scene.run_id}"
        )

    # Chapter 5 to 9: apply, answer, count, close; the close happens inside the run.

    def _install(self) -> None:
        follow_runs(
            self._architect,
            {scene.name: scene.run_id for scene in self._scenes},
            self._screen,
            on_ready=self._answer,
        )
        for scene in self._scenes:
            scene.run = self._architect.get(f"/v1/runs/{scene.run_id}")
            if scene.run["state"] != "succeeded":
                raise DemoError(self._why(scene))
        self._screen.gap()
        for position, scene in enumerate(self._scenes):
            own = scene.answers[-1]
            self._screen.heading(
                "Answers" if position == 0 else "",
                f'{scene.name:<10} "{one_line(own.text)}…"   adapter {own.model}   '
                f"{own.output_tokens} tokens   ttft {own.ttft_ms:.0f} ms",
            )
            base = scene.answers[0]
            self._screen.heading("", f'{"":<10} "{one_line(base.text)}…"   base {base.model}')
        for scene, other in self._pairs():
            self._screen.heading(
                "", f"{scene.name} asks for {other.adapter}   {scene.foreign_status}, as it must"
            )
        self._usage()

    def _pairs(self) -> list[tuple[Scene, Scene]]:
        return [(self._scenes[i], self._scenes[i - 1]) for i in range(len(self._scenes))]

    def _answer(self, boundary: str) -> None:
        scene = next(s for s in self._scenes if s.name == boundary)
        other = next(o for s, o in self._pairs() if s is scene)
        scene.gateway_url = self._architect.get(f"/v1/boundaries/{scene.name}/agent")["gateway_url"]
        require(bool(scene.gateway_url), f"{scene.name}: no gateway address was reported")
        for model in ("tiny-coder", scene.adapter):
            scene.answers.append(ask(scene.gateway_url, scene.key, model, PROMPT))
        texts = {answer.text for answer in scene.answers}
        require(len(texts) == 2, f"{scene.name}: the adapter did not change the answer")
        scene.foreign_status = ask_for_foreign_model(scene.gateway_url, scene.key, other.adapter)
        require(scene.foreign_status == 404, f"{scene.name}: got {scene.foreign_status}, not 404")

    def _usage(self) -> None:
        for scene in self._scenes:
            scene.usage = self._wait_for_usage(scene)
        text = "      ".join(
            f"{s.name} {s.usage.requests} requests, {s.usage.output_tokens} tokens"
            for s in self._scenes
        )
        self._screen.heading("Usage", f"{text}      (only aggregates left the boundary)")
        self._screen.gap()

    def _wait_for_usage(self, scene: Scene) -> Use:
        tokens = sum(answer.output_tokens for answer in scene.answers)
        requests = len(scene.answers) + 1  # the refused one is use as well
        deadline = time.monotonic() + 60
        use = Use(requests=0, output_tokens=0)
        while time.monotonic() < deadline:
            rows = self._architect.get(f"/v1/boundaries/{scene.name}/usage")["items"]
            use = Use(
                requests=sum(row["requests"] for row in rows),
                output_tokens=sum(row["output_tokens"] for row in rows),
            )
            if use.output_tokens >= tokens and use.requests >= requests:
                return use
            time.sleep(0.5)
        raise DemoError(f"{scene.name}: {tokens} tokens were answered, {use} were counted")

    # Chapter 10: the certificates.

    def _certificates(self) -> None:
        for scene in self._scenes:
            document = self._architect.get(f"/v1/installs/{scene.install_id}/certificate")
            scene.certificate = self._output / f"{scene.name}.certificate.json"
            scene.certificate.parent.mkdir(parents=True, exist_ok=True)
            scene.certificate.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
            self._pin = self._customer.pinned_key(scene.name)
            bucket = f"ringfence-{scene.name}-{scene.account}-artifacts"
            file = CertificateFile.from_wire(document)
            agent_key = self._customer.agent_key(scene.name, bucket)
            scene.verdict = verify_certificate(file, self._pin, agent_key)
            try:
                verify_certificate(file, WRONG_PIN, agent_key)
            except CertificateError:
                scene.wrong_pin_refused = True
            require(scene.wrong_pin_refused, f"{scene.name}: a wrong pin was accepted")
        self._closing_lines()

    def _closing_lines(self) -> None:
        lines = [line for scene in self._scenes for line in closing_facts(scene)]
        self._screen.heading("Closed", *lines)
        for position, scene in enumerate(self._scenes):
            self._screen.heading(
                "Certificates" if position == 0 else "",
                f"{scene.certificate} {OK} signed by the pinned key, countersigned by the agent; "
                f"a wrong pin fails {OK}",
            )
        self._screen.gap()

    # The end: facts for scripts, and what to do next.

    def _result(
        self, facts: dict[str, Any], wall_seconds: float, sandbox_seconds: float
    ) -> DemoResult:
        return DemoResult(
            organization="acme",
            emulated=facts["emulated"],
            real=facts["real"],
            time_scale=facts["time_scale"],
            wall_seconds=wall_seconds,
            sandbox_seconds=sandbox_seconds,
            pinned_key=self._pin,
            console_url=facts["api_url"],
            boundaries=tuple(
                boundary_result(scene, other.adapter, facts["time_scale"])
                for scene, other in self._pairs()
            ),
        )

    def _ending(self, result: DemoResult) -> None:
        first = self._scenes[0]
        command = "ringfence" if shutil.which("ringfence") else ".venv/bin/ringfence"
        simulated = max(b.simulated_seconds for b in result.boundaries) / 60
        self._screen.heading(
            f"Both boundaries installed in {result.wall_seconds:.0f} s "
            f"(simulated at scale 1: about {simulated:.0f} min)."
        )
        self._screen.heading("  console", f"{result.console_url}   organization acme, sign in as:")
        for person in PEOPLE[:SIGN_IN_AS]:
            where = person.boundary or "the organization"
            self._screen.heading("", f"  {person.subject:<14} {person.role} of {where}")
        self._screen.heading("", f"  password in {self._home.secrets / PASSWORD}")
        self._screen.heading("  act as", f"{command} … --as {PEOPLE[0].subject}")
        self._screen.heading("  a request", f'{command} chat {first.name} "{PROMPT}"')
        self._screen.heading("  again", f"{command} run watch {first.run_id}")
        self._screen.heading("  stop", f"{command} down    erase everything: {command} reset")
