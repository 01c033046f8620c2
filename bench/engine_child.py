"""Measure what our child costs beside the same program under Pulumi's own Automation API.

`python -m bench.engine_child` previews and applies the foundation of `eks-model-stack` on moto with
the real CLI and the stand-in plug-in, in turns: by our session, and by `pulumi.automation` as
anybody would use it. Each time in an empty account with an empty state. What is compared is the
processor time of the one Python process that hosts the program, from its start to the end of the
apply; the CLI and the plug-in are other processes in both. What our child takes above the SDK's own
host is ours.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from controlplane.adapters.aws.broker import CredentialBroker
from controlplane.adapters.pulumi.engine import EngineRun, StackProgram
from controlplane.adapters.pulumi.messages import ProgramRef
from controlplane.adapters.pulumi.process import ProcessIdentity
from controlplane.adapters.pulumi.state import StateStore
from sandbox import postgres as embedded
from sandbox.aws_provider.install import install
from sandbox.toolchain import find_program
from tests.blueprints.engine import INPUTS, PROGRAM, ROOT, Engine
from tests.integration.adapters.support import REGION, Bench, ignore, moto
from tests.postgres import ServerProcess

RESOURCES = 21
_TICKS = os.sysconf("SC_CLK_TCK")
_HOST = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
used = resource.getrusage(resource.RUSAGE_SELF)
print("CPU", used.ru_utime + used.ru_stime, file=sys.stderr)
"""
RUNNER = ROOT / "tests/blueprints/engine_runner.py"


def ours(folder: Path, state: StateStore, aws_url: str) -> float:
    """Return our child's processor time for a preview and an apply; seconds."""
    bench = Bench(folder, state, aws_url)
    state.claim(bench.boundary_id, bench.run_id, 1)
    target = StackProgram(
        "foundation", ProgramRef(root=str(ROOT), entry=f"{PROGRAM}:foundation"), dict(INPUTS)
    )
    started: list[ProcessIdentity] = []
    with (
        bench.broker() as broker,
        bench.engine(parallel=8).open(_run(bench, broker), started.append) as session,
    ):
        session.preview(target, ignore)
        made = session.up(target, ignore)
        fields = Path(f"/proc/{started[0].pid}/stat").read_text().rpartition(")")[2].split()
    if not made.ok or made.changes != {"create": RESOURCES}:
        raise SystemExit(f"our session made {made.changes}: {made.error}")
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _run(bench: Bench, broker: CredentialBroker) -> EngineRun:
    return EngineRun(bench.boundary_id, bench.run_id, 1, "ringfence", REGION, broker.endpoint)


def automation(folder: Path, aws_url: str) -> float:
    """Return the processor time of `pulumi.automation` for the same; seconds."""
    install(folder / "plugins")
    credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    engine = Engine(folder, Path(find_program("pulumi")), aws_url, credentials)
    request = {
        "entry": f"{PROGRAM}:foundation",
        "stack": "payments-foundation",
        "backend": f"file://{folder}/state",
        "inputs": INPUTS,
        "upstream": None,
        "operations": ["preview", "up"],
    }
    done = subprocess.run(
        [sys.executable, "-c", _HOST, str(RUNNER)],
        input=json.dumps(request),
        env=engine.environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    made = json.loads(done.stdout.splitlines()[-1])
    if made.get("changes") != {"create": RESOURCES}:
        raise SystemExit(f"the Automation API made {made}")
    return float(done.stderr.rsplit("CPU ", 1)[1])


@contextmanager
def state_store() -> Iterator[StateStore]:
    """Start a PostgreSQL for the states of our sessions."""
    process = ServerProcess()
    server = process.start()
    try:
        database = server.create_database(embedded.STATE_ROLE)
        yield StateStore(server.url(embedded.STATE_ROLE, database))
    finally:
        process.stop()


def play(rounds: int) -> dict[str, Any]:
    """Play both in turns; return the figures."""
    taken: dict[str, list[float]] = {"ours": [], "automation": []}
    with state_store() as state, tempfile.TemporaryDirectory(prefix="rf-bench-") as root:
        for number in range(rounds):
            # An account each: the program's bucket has one name.
            for name in ("ours", "automation") if number % 2 == 0 else ("automation", "ours"):
                folder = Path(root) / f"{name}-{uuid4().hex[:8]}"
                folder.mkdir()
                with moto() as aws_url:
                    taken[name].append(
                        ours(folder, state, aws_url)
                        if name == "ours"
                        else automation(folder, aws_url)
                    )
    ratios = [a / b for a, b in zip(taken["ours"], taken["automation"], strict=True)]
    beyond = statistics.median(taken["ours"]) - statistics.median(taken["automation"])
    return {
        "resources": RESOURCES,
        "cpu_seconds": {name: round(statistics.median(some), 2) for name, some in taken.items()},
        "ours_by_automation": {
            "median": round(statistics.median(ratios), 2),
            "least": round(min(ratios), 2),
            "most": round(max(ratios), 2),
        },
        "beyond_automation_per_100_resources": round(100 * beyond / RESOURCES, 2),
    }


def main() -> int:
    """Print the figures; 1 when our child takes a tenth more than the SDK's own host."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine_child", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    options = parser.parse_args()
    figures = play(options.rounds)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    return 0 if figures["ours_by_automation"]["median"] <= 1.1 else 1


if __name__ == "__main__":
    sys.exit(main())
