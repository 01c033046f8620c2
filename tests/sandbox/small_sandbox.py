"""A sandbox of two small parts, run by the real supervisor: `python small_sandbox.py`.

Started by the tests with RINGFENCE_HOME set. The parts are real processes; one starts a child of
its own, so that ending the whole group can be seen.
"""

from __future__ import annotations

import os
import sys

from sandbox.home import Home
from sandbox.isolation import dies_with_parent
from sandbox.part import Part
from sandbox.supervisor import Supervisor

SLEEPER = """
import subprocess, sys, time
if len(sys.argv) > 1:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print("up", flush=True)
time.sleep(300)
"""


def main() -> int:
    home = Home.current()
    home.create()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ["PYTHONPATH"]}
    parts = [
        Part("task", [sys.executable, "-c", "print('done')"], environment, once=True),
        Part("first", dies_with_parent([sys.executable, "-c", SLEEPER]), environment),
        Part("second", dies_with_parent([sys.executable, "-c", SLEEPER, "child"]), environment),
    ]
    return Supervisor(home, parts, {"api_url": "http://127.0.0.1:1"}).run()


if __name__ == "__main__":
    sys.exit(main())
