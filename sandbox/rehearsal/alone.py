"""The customer alone: a copy of the account, a kit, the engine, and nobody else.

Started by `sandbox.rehearsal.takeover` in a network namespace of its own: `python -m … FOLDER`. The
script that works here is the kit's, unchanged; this module starts the account, runs the script's
actions, and looks at the account with the customer's own keys after each.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx2
from botocore.config import Config

from sandbox.cluster import ClusterHandle, attach_cluster
from sandbox.home import write_private
from sandbox.rehearsal import customer_role, inside
from sandbox.rehearsal.errors import AloneError
from sandbox.rehearsal.subjects import Guest, OwnCluster, Subject
from sandbox.toolchain import ROOT, find_program

START_SECONDS = 60.0
STOP_SECONDS = 40.0
ACTION_SECONDS = 240.0
HERE = "127.0.0.1/32"
"""The customer's own address, in this network of its own."""


class Rehearsal:
    """One rehearsal in one folder."""

    def __init__(self, folder: Path) -> None:
        self._task: dict[str, Any] = json.loads((folder / "task.json").read_text())
        self._account = Path(self._task["account"])
        self._kit = Path(self._task["kit"])
        self._endpoint = self._role = ""
        self._credentials = self._account / "credentials"
        self._home = folder / "pulumi-home"
        self._home.mkdir(mode=0o700)
        (self._home / "plugins").symlink_to(self._task["plugins"], target_is_directory=True)
        self.steps: list[dict[str, Any]] = []

    def play(self) -> None:
        """Run every step. Raises: AloneError at the first that fails."""
        self._no_control_plane()
        with self._started():
            self._await_cluster("ACTIVE")
            account = self._task["account_id"]
            self._role = customer_role.assume(self._client, account, self._credentials)
            subject = self._subject()
            self._step("status", lambda: self._script("status"))
            self._step("preview", self._unchanged)
            setting = subject.change()
            self._step("update", lambda: self._script("update", *setting))
            subject.require_changed()
            self._delete(subject)
            left = subject.left()
            if left:
                raise AloneError(f"delete: the account still holds {', '.join(left)}")
            self._step("account", subject.require_others_untouched)

    def _delete(self, subject: Subject) -> None:
        """Change what runs in the cluster, and delete everything, as the runbook has it."""
        if not isinstance(subject, OwnCluster):
            # The copy's cluster starts empty: the place that the host made in it is not there.
            self._step("delete", lambda: self._script("delete", "--skip-chart"))
        elif self._task["reach"] == "in-vpc-runner":
            self._step("outside", lambda: self._refused_outside(subject))
            for action in ("chart", "remove-chart"):
                self._step(action, functools.partial(self._in_cluster, subject, action))
            self._step("delete", lambda: self._script("delete", "--skip-chart"))
        else:
            self._step("chart", lambda: self._in_cluster(subject, "chart", "--cidr", HERE))
            self._step("delete", lambda: self._script("delete", "--cidr", HERE))

    def _in_cluster(self, subject: OwnCluster, action: str, *way: str) -> str:
        """Run an action behind the cluster's door; see its effect there, and the door shut.

        Without a `way` it runs inside the network, on a machine without the passphrase.
        """
        if way:
            text = self._script(action, *way)
        else:
            text = self._script(action, "--passphrase-file", "/nowhere", inside=True)
        path = f"/apis/apps/v1/namespaces/{self._task['system_namespace']}/deployments"
        status, answer = self._cluster().admin().send("GET", path)
        found = [one["metadata"]["name"] for one in json.loads(answer)["items"]]
        if status != 200 or (action == "chart") is not bool(found):
            raise AloneError(f"{action}: the cluster shows deployments {found} ({status})")
        return f"{text}{subject.require_shut(self._role)}"

    def _refused_outside(self, subject: OwnCluster) -> str:
        """See that the script opens nothing and makes nothing where the endpoint is private."""
        shown = []
        for options in ((), ("--cidr", HERE)):
            done = self._run("chart", options)
            reason = done.stderr.strip()
            if done.returncode == 0 or "run this inside its network" not in reason:
                raise AloneError(f"chart {' '.join(options)} from outside: {reason or done.stdout}")
            shown.append(" ".join(("refused:", "chart", *options)))
        shown.append(subject.require_shut(self._role))
        return "\n".join(shown)

    def _subject(self) -> Subject:
        subject = OwnCluster if self._task["host"] is None else Guest
        return subject(self._task, self._client)

    def _no_control_plane(self) -> None:
        """See that nothing answers where the control plane is. Raises: AloneError."""
        try:
            httpx2.get(f"{self._task['control_plane']}/healthz", timeout=5, trust_env=False)
        except httpx2.ConnectError:
            self._step("alone", lambda: "no control plane answers in this network: refused")
            return
        raise AloneError("the control plane answers: the rehearsal would prove nothing")

    def _step(self, name: str, act: Any) -> None:
        begun = time.monotonic()
        text = str(act()).strip()
        seconds = round(time.monotonic() - begun, 1)
        self.steps.append({"step": name, "seconds": seconds, "shown": text.splitlines()})
        for line in text.splitlines():
            print(
                f"rehearsal  {line if line.startswith(name) else f'{name:<8} {line}'}", flush=True
            )

    def _unchanged(self) -> str:
        """Preview; the kit's programs and inputs must describe exactly what is there."""
        text = self._script("preview")
        for line in text.splitlines():
            words = line.split(": ", 1)[1].split(", ")
            if any(not word.endswith(" same") for word in words):
                raise AloneError(f"preview: an install that nobody touched would change: {line}")
        return text

    @contextmanager
    def _started(self) -> Iterator[None]:
        """Run the copied account; its clusters end with it."""
        with (self._account / "log").open("w") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "sandbox.aws",
                    "--config",
                    str(self._account / "config.json"),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._endpoint = self._when_ready(process)
            yield
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)

    def _when_ready(self, process: subprocess.Popen[bytes]) -> str:
        file, deadline = self._account / "run" / "aws.json", time.monotonic() + START_SECONDS
        while not file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                words = (self._account / "log").read_text()[-2000:]
                raise AloneError(f"the copied account did not start: {words}")
            time.sleep(0.05)
        address: str = json.loads(file.read_text())["endpoint_url"]
        return address

    def _script(self, action: str, *options: str, inside: bool = False) -> str:
        """Run the kit's own script and return what it printed. Raises: AloneError."""
        done = self._run(action, options, inside=inside)
        if done.returncode != 0:
            raise AloneError(f"{action}: {(done.stderr or done.stdout).strip()[-2500:]}")
        return done.stdout

    def _run(
        self, action: str, options: tuple[str, ...], *, inside: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run the kit's own script with the customer's keys; nothing of ours is in its reach."""
        argv = [sys.executable, "-P", str(self._kit / "takeover.py"), action, *options]
        environment = self._environment()
        if inside:
            argv, environment = self._placed_inside(argv, environment)
        return subprocess.run(
            argv,
            cwd=self._kit,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ACTION_SECONDS,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{find_program('pulumi').parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self._kit / "work"),
            "HELM": str(find_program("helm")),
            "KUBECTL": str(find_program("kubectl")),
            "PYTHONPATH": str(self._kit),
            "PULUMI_HOME": str(self._home),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "AWS_ENDPOINT_URL": self._endpoint,
            "AWS_SHARED_CREDENTIALS_FILE": str(self._credentials),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _placed_inside(
        self, argv: list[str], environment: dict[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """Return command and environment that run `argv` on a machine inside the network."""
        cluster = self._client("eks").describe_cluster(name=self._task["cluster"])["cluster"]
        if not cluster["resourcesVpcConfig"]["endpointPrivateAccess"]:
            raise AloneError("the copied cluster has no private endpoint")
        ways = {
            str(urlsplit(self._endpoint).port): str(self._account / "run" / "gate.sock"),
            str(urlsplit(cluster["endpoint"]).port): str(self._cluster().api_socket),
        }
        spec = self._account / "inside.json"
        text = {"ways": ways, "argv": argv, "cwd": str(self._kit), "env": environment}
        write_private(spec, json.dumps(text))
        return inside.command(spec), {"PATH": environment["PATH"], "PYTHONPATH": str(ROOT)}

    def _cluster(self) -> ClusterHandle:
        name, run = self._task["cluster"], self._account / "run"
        return attach_cluster(name, self._account / "data" / "clusters" / name, run)

    def _key(self) -> dict[str, str]:
        path = self._account / "secrets" / "aws" / "customer-admin.json"
        found: dict[str, str] = json.loads(path.read_text())
        return found

    # What the account shows --------------------------------------------------------------------

    def _client(self, service: str) -> Any:
        key = self._key()
        return boto3.client(
            service,
            endpoint_url=self._endpoint,
            region_name=self._task["region"],
            aws_access_key_id=key["access_key_id"],
            aws_secret_access_key=key["secret_access_key"],
            config=Config(s3={"addressing_style": "path"}),
        )

    def _await_cluster(self, wanted: str) -> None:
        name, deadline = self._task["cluster"], time.monotonic() + START_SECONDS
        health = f"{self._endpoint}/_rehearsal/health"
        while True:
            found = httpx2.get(health, timeout=5, trust_env=False).json()["clusters"]
            if any(c["name"] == name and c["running"] and c["status"] == wanted for c in found):
                return
            if time.monotonic() > deadline:
                raise AloneError(f"the copied cluster {name} is not {wanted}: {found}")
            time.sleep(0.2)


def main() -> int:
    """Play in the folder named on the command line; exit code 1 with the reason on stderr."""
    folder = Path(sys.argv[1])
    rehearsal = Rehearsal(folder)
    try:
        rehearsal.play()
    except (AloneError, OSError, subprocess.SubprocessError, httpx2.HTTPError) as error:
        print(error, file=sys.stderr)
        return 1
    result = {"steps": rehearsal.steps}
    (folder / "result.json").write_text(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
