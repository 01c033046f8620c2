"""Play schedules by hand: `python -m tests.faults.light 17 18`, or the JSON that a failure printed.

A number is the seed of a random schedule.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.faults.light.cell import Cell
from tests.faults.light.play import play
from tests.faults.light.schedule import Schedule, random_schedule


def main(arguments: list[str]) -> int:
    """Play each; return 1 when one failed."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="rf-light-") as folder:
        cell = Cell(Path(folder) / "cell")
        try:
            for argument in arguments:
                is_seed = argument.isdecimal()
                schedule = (
                    random_schedule(int(argument)) if is_seed else Schedule.from_json(argument)
                )
                result = play(cell, schedule)
                failed += bool(result.violations)
                print(f"{schedule.name}: {len(result.violations)} violations,", end=" ")
                print(f"{result.seconds:.1f} s, faults {', '.join(result.fired) or 'none'}")
                for violation in result.violations:
                    print(f"  {violation}")
        finally:
            cell.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
