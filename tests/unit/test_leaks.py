"""A leak found once is printed; the same one again and again fails the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LEAKING = """
import gc, socket, pytest
class Ring:
    def __init__(self):
        self.me, self.open = self, socket.socket()
@pytest.mark.parametrize("number", range({times}))
def test_leaves_a_socket(number):
    Ring()
    gc.collect()
"""


def play(folder: Path, times: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text('pytest_plugins = ["tests.leaks"]\n')
    (folder / "pytest.ini").write_text(
        "[pytest]\nfilterwarnings =\n    error\n"
        "    default::pytest.PytestUnraisableExceptionWarning\n"
    )
    (folder / "test_it.py").write_text(LEAKING.format(times=times))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, str(folder)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_leak_found_once_is_printed_and_fails_nothing(tmp_path: Path) -> None:
    done = play(tmp_path, 1)
    assert done.returncode == 0, done.stdout
    assert "unclosed <socket.socket" in done.stdout


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["one-process", "two-processes"])
def test_a_leak_of_every_test_fails_the_run(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = play(tmp_path, 6, *arguments)
    assert done.returncode == 1, done.stdout
    assert "6 passed" in done.stdout
    assert "LEAKED 6 times" in done.stdout
