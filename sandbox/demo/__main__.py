"""Entry of `python -m sandbox.demo`: run the story, say what failed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from ringfence.cli.output import CommandError
from ringfence.client import ApiError
from sandbox.cli import SandboxError
from sandbox.demo.result import write_result
from sandbox.demo.scene import DemoError
from sandbox.demo.screen import Screen
from sandbox.demo.story import Story
from sandbox.home import Home
from sandbox.toolchain import ROOT

FAILURES = (
    DemoError,
    SandboxError,
    ApiError,
    CommandError,
    ClientError,
    BotoCoreError,
    TimeoutError,
)
"""What a chapter may end with: each is shown as one message."""


def main(argv: list[str] | None = None) -> int:
    """Return 0 when every fact was as it must be, 4 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description=__doc__)
    parser.add_argument(
        "--file", type=Path, default=ROOT / "examples/acme/organization.yaml", help="organization"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build/demo", help="folder of the result"
    )
    parser.add_argument(
        "--time-scale", type=float, default=None, help="scale of the emulated cloud's latencies"
    )
    options = parser.parse_args(argv)
    screen = Screen()
    home = Home.current()
    try:
        result = Story(home, options.file, options.output, screen, options.time_scale).play()
    except FAILURES as error:
        print(f"error: {error}", file=sys.stderr)
        print(
            f"  look: ringfence status   ringfence logs worker   (logs: {home.logs})",
            file=sys.stderr,
        )
        return 4
    write_result(result, options.output / "result.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
