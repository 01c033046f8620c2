"""An old process is known by more than its number."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from controlplane.adapters.pulumi.process import (
    ProcessAliveError,
    boot_id,
    identify,
    prove_dead,
)

CODE = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()']); input()"


def start(marker: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env={"PATH": os.environ["PATH"], "PULUMI_HOME": marker},
    )


def test_the_whole_session_is_killed_and_proven_dead() -> None:
    process = start("/runs/one")
    identity = identify(process.pid, "/runs/one")
    assert process.pid in prove_dead(identity)
    process.communicate()
    assert prove_dead(identity) == []


def test_a_number_that_was_reused_by_another_process_is_left_alone() -> None:
    process = start("/runs/other")
    now = identify(process.pid, "/runs/one")
    earlier = now.model_copy(update={"start_time": now.start_time - 100})
    assert prove_dead(earlier) == []
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_a_process_of_an_earlier_boot_is_dead() -> None:
    identity = identify(os.getpid(), "x").model_copy(update={"boot_id": "an-earlier-boot"})
    assert identity.boot_id != boot_id()
    assert prove_dead(identity) == []


def test_a_process_on_another_host_cannot_be_proven_dead() -> None:
    identity = identify(os.getpid(), "x").model_copy(update={"host": "elsewhere"})
    with pytest.raises(ProcessAliveError, match="cannot be proven dead from here"):
        prove_dead(identity)
