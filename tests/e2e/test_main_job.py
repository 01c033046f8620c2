"""The README's main job, whole and real, on a machine without any network.

One demo is played in a sandbox of its own, in a network namespace that has nothing but its own
loopback; every test reads what it left.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proof.certificates import CertificateError, verify_certificate
from sandbox.demo.result import BoundaryResult, DemoResult
from tests.architecture.sources import ROOT
from tests.e2e.console_walk import FIRST_PAGES
from tests.e2e.secrets import known_secrets, traces_of
from wire.certificate import CertificateFile

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
DEMO_SECONDS = 800
SCRIPT = """
ip link set lo up
"$1" -m sandbox.demo --output "$2" >"$2/screen.txt" 2>&1
echo $? >"$2/code"
"$1" -c 'from tests.e2e.console_walk import FIRST_PAGES
from tests.e2e.secrets import record_processes; record_processes()' "$2/processes.json"
"$1" -m ringfence.cli.main status --json >"$2/status.json"
"$1" -m tests.e2e.console_walk "$RINGFENCE_HOME" "$2" >"$2/console.txt" 2>&1
"$1" -m ringfence.cli.main down
"$1" -c 'from tests.e2e.console_walk import FIRST_PAGES
from tests.e2e.secrets import record_processes; record_processes()' "$2/left.json"
"""


@dataclass(frozen=True)
class Played:
    """A finished demo: its sandbox's home (stopped), its output and its result."""

    home: Path
    output: Path
    result: DemoResult

    def boundary(self, name: str) -> BoundaryResult:
        return next(b for b in self.result.boundaries if b.name == name)


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    root = Path(tempfile.mkdtemp(prefix="rf-e2e-"))
    output = root / "out"
    output.mkdir()
    environment = {
        **os.environ,
        "RINGFENCE_HOME": str(root / "home"),
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
    }
    subprocess.run(
        ["unshare", "-Urn", "sh", "-c", SCRIPT, "sh", sys.executable, str(output)],
        cwd=ROOT,
        env=environment,
        check=False,
        timeout=DEMO_SECONDS,
    )
    screen = (output / "screen.txt").read_text()
    print(screen)
    assert (output / "code").read_text().strip() == "0", screen[-3000:]
    result = DemoResult.from_wire(json.loads((output / "result.json").read_text()))
    yield Played(root / "home", output, result)
    shutil.rmtree(root, ignore_errors=True)


def test_both_boundaries_are_installed_by_one_run_each(played: Played) -> None:
    assert [b.name for b in played.result.boundaries] == ["payments", "research"]
    assert {b.run_state for b in played.result.boundaries} == {"succeeded"}
    for boundary in played.result.boundaries:
        others = {s.key: s.state for s in boundary.steps if s.state != "succeeded"}
        assert others == {"images": "skipped"}, "the demo's nodes pull their images"


def test_the_role_opens_only_with_our_external_id_and_only_while_granted(played: Played) -> None:
    for boundary in played.result.boundaries:
        assert not any(a.allowed for a in boundary.closed_attempts)
        opened = {a.external_id: a.allowed for a in boundary.open_attempts}
        assert opened == {"ours": True, "none": False, "wrong": False, "foreign": False}


def test_each_boundary_answers_with_its_own_adapter_and_not_with_the_others(
    played: Played,
) -> None:
    for boundary in played.result.boundaries:
        base, adapted = boundary.answers
        assert base.output_tokens > 0
        assert adapted.model == f"{boundary.name}-style"
        assert adapted.text != base.text
        assert boundary.foreign_adapter_status == 404
    texts = {b.answers[1].text for b in played.result.boundaries}
    assert len(texts) == 2


def test_the_usage_of_the_requests_is_counted_in_aggregate(played: Played) -> None:
    for boundary in played.result.boundaries:
        assert boundary.usage.output_tokens == sum(a.output_tokens for a in boundary.answers)
        # The request for the other boundary's adapter was refused, and counted.
        assert boundary.usage.requests == len(boundary.answers) + 1


def test_access_has_ended_and_that_is_proven(played: Played) -> None:
    for boundary in played.result.boundaries:
        assert len(boundary.denied_after_close) >= 2
        assert boundary.residue_findings == 0


def test_the_certificate_holds_against_the_pin_and_not_against_another(played: Played) -> None:
    for boundary in played.result.boundaries:
        document = json.loads(Path(boundary.certificate_path).read_text())
        file = CertificateFile.from_wire(document)
        verdict = verify_certificate(file, played.result.pinned_key)
        assert verdict.certificate.boundary == boundary.name
        assert verdict.certificate.emulated
        assert boundary.certificate_countersigned
        assert boundary.wrong_pin_refused
        with pytest.raises(CertificateError, match="not signed by the pinned key"):
            verify_certificate(file, "SHA256:" + "B" * 43)


def test_no_secret_is_in_a_log_an_argument_an_environment_or_an_answer(played: Played) -> None:
    secrets = known_secrets(played.home)
    assert len(secrets) >= 15
    processes = json.loads((played.output / "processes.json").read_text())
    assert len(processes) >= 15
    assert traces_of(secrets, played.home, played.output, processes) == []


@pytest.mark.parametrize("subject", FIRST_PAGES)
def test_each_person_signs_in_to_a_useful_first_page(played: Played, subject: str) -> None:
    document = played.output / "console.json"
    assert document.exists(), (played.output / "console.txt").read_text()[-3000:]
    found = json.loads(document.read_text())[subject]
    assert found["path"] == found["expected"]
    assert len(found["text"]) > 100
    assert found["signed_out"]
    # The console's own host and the sandbox's identity provider, and nobody else.
    assert set(found["hosts"]) <= {"127.0.0.1", "127.0.0.2"}
    assert (played.output / f"console-{subject.partition('@')[0]}.png").stat().st_size > 10_000


def test_the_administrator_of_one_boundary_is_shown_nothing_of_another(played: Played) -> None:
    found = json.loads((played.output / "console.json").read_text())
    assert "research" in found["max@acme.test"]["text"].lower()
    for subject in ("bea@acme.test", "pia@acme.test"):
        assert "research" not in found[subject]["text"].lower()


def test_stopping_the_sandbox_leaves_no_process(played: Played) -> None:
    left: list[Any] = json.loads((played.output / "left.json").read_text())
    assert left == []
