"""Simulate the wall time of a boundary that moves into another one's cluster.

`python -m bench.guest_install_time --json build/bench/guest.json` installs a host and its guest in
a sandbox of its own at 1/200, and puts the published latencies back at scale 1, as
`bench.install_time` does, by the same rules. Nothing here was measured on AWS: every figure is
*simulated*. The host's part (its install, or the update that lets the guest in) is not in it.

Two figures, as a node pulls an image once: with the engine's image on the host's nodes, which run
the same one by the same digest, and with a node that has to pull it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.install_time import Cloud, Simulated, own_seconds, simulate
from sandbox.aws.latencies import GUEST_STEP_WAITS, WEIGHT_BANDWIDTH_SOURCE
from sandbox.home import Home
from tests.sandbox.one_install import Sandbox, describe_shared, install_boundary, run_ended

MUST_P50 = 3 * 60
HOST, GUEST = "payments", "research"
IMAGES: Mapping[str, frozenset[str]] = {
    "engine_image_on_the_node": frozenset({"image-pull"}),
    "engine_image_pulled": frozenset(),
}


def play(scale: float) -> dict[str, float]:
    """Install a host and its guest; return the seconds that each step of the guest took."""
    with tempfile.TemporaryDirectory(prefix="rf-bench-") as folder:
        sandbox = Sandbox(Home(Path(folder) / "home"))
        try:
            sandbox.run("up", "--time-scale", str(scale))
            describe_shared(sandbox, HOST, GUEST)
            for boundary in (HOST, GUEST):
                run = run_ended(sandbox, install_boundary(sandbox, boundary), 400)
                if run["state"] != "succeeded":
                    raise SystemExit(f"the install of {boundary} is {run['state']}")
            return {step["key"]: _seconds(step) for step in run["steps"]}
        finally:
            sandbox.close()


def _seconds(step: Mapping[str, Any]) -> float:
    if not step["started_at"] or not step["finished_at"]:
        return 0.0
    began, ended = (datetime.fromisoformat(step[key]) for key in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


def report(measured: Mapping[str, float], scale: float, weight_bytes: int) -> dict[str, Any]:
    """Return the figures for what each step of a guest's install took at a scale."""
    # People, not we, decide how long an approval takes.
    own = own_seconds({**measured, "approval": 0.0}, scale, Cloud(waits=GUEST_STEP_WAITS))
    found = {
        name: simulate(own, weight_bytes, cloud=Cloud(without=without, waits=GUEST_STEP_WAITS))
        for name, without in IMAGES.items()
    }
    return {
        "label": "simulated; nothing was measured on AWS",
        "time_scale_of_the_run": scale,
        "own_seconds": {step: round(seconds, 2) for step, seconds in own.items() if seconds > 0},
        **{name: _figures(one) for name, one in found.items()},
        "critical_path": list(found["engine_image_on_the_node"].path),
        "holds": {"p50": found["engine_image_on_the_node"].wall[0] <= MUST_P50},
        "weight_bytes": weight_bytes,
        "weight_bandwidth": WEIGHT_BANDWIDTH_SOURCE,
    }


def _figures(simulated: Simulated) -> dict[str, Any]:
    return {
        "wall_p50_seconds": round(simulated.wall[0]),
        "wall_p90_seconds": round(simulated.wall[1]),
        "cloud_p50_seconds": round(simulated.cloud[0]),
        "overhead_share": round(simulated.overhead, 4),
    }


def main() -> int:
    """Print the figures; 1 when the bound does not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.guest_install_time", description=__doc__)
    parser.add_argument("--time-scale", type=float, default=1 / 200)
    parser.add_argument("--weight-bytes", type=int, default=15_000_000_000)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    options = parser.parse_args()
    figures = report(play(options.time_scale), options.time_scale, options.weight_bytes)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    return 0 if all(figures["holds"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
