"""Forks worker processes at once: the imports, which take a second, are made only once.

`python -m tests.faults.light.nursery` reads a line of JSON per worker and answers with its pid; it
reports each worker's end. It has one thread, so that a fork copies no lock that somebody holds.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the standard input ends, then end every worker."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(reader, selectors.EVENT_READ)
        rest = b""
        while True:
            for key, _ in selector.select():
                if key.fd == reader:
                    os.read(reader, 4096)
                    _report_ends(children)
                    continue
                data = os.read(0, 65_536)
                if not data:
                    return _end(children)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    pid = _fork(json.loads(line))
                    children.add(pid)
                    _say({"started": pid})


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    # In the child: nothing of the nursery's is used any more.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order.pop("log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 256)
    status = 1
    try:
        from tests.faults.light.worker import WorkerConfig, work

        work(WorkerConfig(**order))
        status = 0
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()  # nobody above this would say it
        sys.stderr.flush()
        os._exit(status)


def _report_ends(children: set[int]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            children.discard(pid)
            _say({"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def _say(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


def _end(children: set[int]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    # The worker's modules before the first fork; the path is that of the tests' own folder.
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    import tests.faults.light.worker  # noqa: F401 - for its imports

    main()
