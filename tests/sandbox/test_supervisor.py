"""The supervisor: names a part that dies, starts it again, and leaves no process behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.isolation import hiding, namespaces_available
from tests.architecture.sources import ROOT

SCRIPT = Path(__file__).with_name("small_sandbox.py")


def wait_for(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("the condition did not come true")


class Running:
    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        environment = {**os.environ, "RINGFENCE_HOME": str(home), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], env=environment)

    def record(self) -> dict[str, Any]:
        path = self.home / "sandbox.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def part(self, name: str) -> dict[str, Any]:
        return next(p for p in self.record()["parts"] if p["name"] == name)

    def wait_ready(self) -> None:
        wait_for(lambda: self.record().get("state") == "ready")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    sandbox = Running(tmp_path / "home")
    sandbox.wait_ready()
    yield sandbox
    if sandbox.process.poll() is None:
        sandbox.process.terminate()
        sandbox.process.wait(30)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def children_of(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_part_that_dies_is_named_with_its_log_and_started_again(running: Running) -> None:
    before = running.part("first")
    log = Path(before["log"])
    wait_for(lambda: log.read_text().count("up") == 1)
    os.kill(before["pid"], signal.SIGKILL)
    after = wait_for(
        lambda: p if (p := running.part("first"))["restarts"] == 1 and p["pid"] else None
    )
    assert after["last_exit"] == "ended with -9"
    assert after["pid"] != before["pid"]
    wait_for(lambda: log.read_text().count("up") == 2)


def test_ending_the_supervisor_ends_every_part_and_what_it_started(running: Running) -> None:
    second = running.part("second")["pid"]
    started = wait_for(lambda: children_of(second))
    running.process.terminate()
    assert running.process.wait(30) == 0
    assert not [pid for pid in (second, *started) if alive(pid)]
    assert running.record()["state"] == "stopped"


def test_a_killed_supervisor_takes_its_parts_with_it(running: Running) -> None:
    pids = [running.part(name)["pid"] for name in ("first", "second")]
    running.process.kill()
    running.process.wait(30)
    wait_for(lambda: not [pid for pid in pids if alive(pid)])


def test_a_caller_waits_while_a_part_on_a_held_socket_is_started_again(running: Running) -> None:
    port = running.record()["facts"]["port"]

    def answered_by() -> int:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as caller:
            return int(caller.recv(20))

    before = answered_by()
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: not alive(before))
    assert answered_by() != before


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("dies", ["last ended with 1", "last.log", "a reason in the log"]),
        ("unprepared", ["last could not be started", "the weights are missing; run: make prepare"]),
    ],
)
def test_a_part_that_does_not_come_up_ends_the_start_with_its_reason_and_no_process(
    tmp_path: Path, kind: str, words: list[str]
) -> None:
    sandbox = Running(tmp_path / "home", kind)
    assert sandbox.process.wait(30) == 1
    record = sandbox.record()
    assert record["state"] == "failed"
    assert all(word in record["error"] for word in words), record["error"]
    assert sandbox.part("last")["state"] == "failed"
    assert [part["pid"] for part in record["parts"] if part["pid"]] == []


def test_the_record_can_be_read_by_its_owner_only(running: Running) -> None:
    assert (running.home / "sandbox.json").stat().st_mode & 0o777 == 0o600
    assert running.home.stat().st_mode & 0o777 == 0o700


def test_a_hidden_folder_cannot_be_reached_by_any_way_round(tmp_path: Path) -> None:
    assert namespaces_available(), "this host has no user namespaces: the key is not hidden here"
    folder = tmp_path / "customer"
    folder.mkdir()
    (folder / "key.pem").write_text("canary-of-the-customer")
    attempts = (
        f"cat {folder}/key.pem; umount {folder}; cat {folder}/key.pem; "
        f"cat /proc/{os.getpid()}/root{folder}/key.pem; "
        f"unshare -Urm sh -c 'umount {folder}; cat {folder}/key.pem'; true"
    )
    run = subprocess.run(
        hiding(folder, ["sh", "-c", attempts]), capture_output=True, text=True, check=True
    )
    assert "canary" not in run.stdout
    assert run.stderr.count("No such file") >= 2
