"""Measure what an install takes of the host: memory per run by part, and our own processor time.

`python -m bench.engine_cost --json build/bench/cost.json` plays the demo (two installs side by
side, real engine, chart and models) in a sandbox of its own, ends it, and reads the worker's log:
every engine session leaves a line with the memory and the processor time of its parts, and the
worker says its own at the start and at the end. Pulumi's processes are the CLI, the plug-in and the
host of the program, which is our child; what we add is the worker from its start to its end, with
everything it did meanwhile, the chart and the short jobs too. What our child takes above
the SDK's own host is measured by `bench.engine_child`, side by side. The plug-in here is the
sandbox's stand-in: for the official one stand published figures
(`docs/reference/worker-capacity.md`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PARTS = ("child", "engine", "plugin")
MUST_CPU_SECONDS = 5.0
"""Of our own, per 100 resources."""


def play(scale: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Play the demo in a sandbox of its own; return its result and the worker's log."""
    with tempfile.TemporaryDirectory(prefix="rf-bench-") as folder:
        home = Path(folder) / "home"
        environment = {**os.environ, "RINGFENCE_HOME": str(home)}
        output = Path(folder) / "demo"
        demo = [sys.executable, "-m", "sandbox.demo", "--output", str(output)]
        try:
            subprocess.run([*demo, "--time-scale", str(scale)], env=environment, check=True)
        finally:
            stop = "from sandbox.cli import app; app(['down'])"
            subprocess.run([sys.executable, "-c", stop], env=environment, check=True)
        log = (home / "logs" / "worker.log").read_text().splitlines()
        lines = [json.loads(line) for line in log if line.startswith("{")]
        return json.loads((output / "result.json").read_text()), lines


def report(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of a worker's log."""
    lines = list(lines)
    sessions = [line for line in lines if line.get("event") == "engine.closed"]
    marks = {
        line["event"]: float(line["cpu_seconds"])
        for line in lines
        if line.get("event") in ("worker.started", "worker.stopped")
    }
    worker = marks["worker.stopped"] - marks["worker.started"]
    child = sum(float(line["child_cpu_seconds"]) for line in sessions)
    resources = sum(int(line["resources"]) for line in sessions)
    per_100 = 100 * worker / resources
    return {
        "sessions": len(sessions),
        "resources_created": resources,
        "peak_mib": {
            part: max(int(line[f"{part}_peak_mib"]) for line in sessions) for part in PARTS
        },
        "cpu_seconds": {
            "worker": round(worker, 2),
            **{
                part: round(sum(float(line[f"{part}_cpu_seconds"]) for line in sessions), 2)
                for part in PARTS
            },
        },
        "own_cpu_seconds_per_100_resources": round(per_100, 2),
        "with_the_child_per_100_resources": round(per_100 + 100 * child / resources, 2),
        "holds": {"cpu": per_100 <= MUST_CPU_SECONDS},
    }


def main() -> int:
    """Print the figures; 1 when the bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine_cost", description=__doc__)
    parser.add_argument("--time-scale", type=float, default=1 / 200)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    options = parser.parse_args()
    _, lines = play(options.time_scale)
    text = json.dumps(report(lines), indent=2)
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    return 0 if all(json.loads(text)["holds"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
