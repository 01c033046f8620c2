"""The DBOS half of `bench.run_engine`: the same workflows of empty steps.

`python -m bench.dbos_steps` runs in an environment made from `requirements/bench.lock`; it imports
nothing of ours. It reads one line of JSON with the database's address, warms up, then answers each
line `{"workflows": …, "steps": …, "side_by_side": …}` with the seconds that it took.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS


@DBOS.step()
def empty(number: int) -> int:
    """Do nothing, durably."""
    return number


@DBOS.workflow()
def workflow(steps: int) -> int:
    """Do so many steps in a row."""
    return sum(empty(number) for number in range(steps))


def main() -> None:
    """Answer until the input ends."""
    url = json.loads(sys.stdin.readline())["url"]
    DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False,
                 "log_level": "ERROR"})  # fmt: skip
    DBOS.launch()
    workflow(3)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        began = time.perf_counter()
        with ThreadPoolExecutor(order["side_by_side"]) as pool:
            list(pool.map(workflow, [order["steps"]] * order["workflows"]))
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main()
