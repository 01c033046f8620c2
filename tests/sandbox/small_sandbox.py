"""A sandbox of small parts under the real supervisor: `python small_sandbox.py [dies|unprepared]`.

Started by the tests with RINGFENCE_HOME set. The parts are real processes; one starts a child of
its own, so that ending the whole group can be seen, and one answers on a socket that the supervisor
holds. With an argument, a last part ends at its start, or cannot be prepared.
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

ANSWERER = """
import os, socket, sys
held = socket.socket(fileno=int(sys.argv[1]))
while True:
    caller, _ = held.accept()
    with caller:
        caller.sendall(str(os.getpid()).encode())
"""


def refuse() -> None:
    """Stand for a part that lacks something before it can start."""
    raise FileNotFoundError("the weights are missing; run: make prepare")


def last_part(kind: str, environment: dict[str, str]) -> Part:
    """Return a part that does not come up."""
    words = "import sys; sys.exit('a reason in the log')"
    before = refuse if kind == "unprepared" else None
    return Part("last", [sys.executable, "-c", words], environment, lambda: False, before=before)


def main() -> int:
    home = Home.current()
    home.create()
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ["PYTHONPATH"]}
    parts = [
        Part("task", [sys.executable, "-c", "print('done')"], environment, once=True),
        Part("first", dies_with_parent([sys.executable, "-c", SLEEPER]), environment),
        Part("second", dies_with_parent([sys.executable, "-c", SLEEPER, "child"]), environment),
    ]
    listener = home.listener("answerer", 0)
    answerer = [sys.executable, "-c", ANSWERER, str(listener.fileno())]
    parts.append(Part("answerer", dies_with_parent(answerer), environment, listener=listener))
    if len(sys.argv) > 1:
        parts.append(last_part(sys.argv[1], environment))
    return Supervisor(home, parts, {"port": listener.getsockname()[1]}).run()


if __name__ == "__main__":
    sys.exit(main())
