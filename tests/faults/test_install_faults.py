"""The foundation of an install under one fault each: a spread over the calls, at every push.

Every call of every kind is `test_every_call.py`, a programme of minutes.
"""

from __future__ import annotations

import pytest

from tests.faults.conftest import OpenScene
from tests.faults.install import judge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_without_faults_the_path_succeeds_and_the_oracle_is_content(
    open_install: OpenScene,
) -> None:
    scene = open_install("foundation")
    state = scene.go()
    assert state == "succeeded", scene.why()
    judge(scene, state)
    assert len(scene.live()) > 8


@pytest.mark.parametrize("k", [11])
def test_a_denied_call_is_overcome_or_undone(open_install: OpenScene, k: int) -> None:
    scene = open_install("foundation")
    scene.put({"kind": "deny", "changes_only": True, "call": k})
    state = scene.go()
    assert scene.struck(), f"{state}: the fault was never met\n{scene.why()}"
    judge(scene, state)


@pytest.mark.parametrize("operation", ["CreateVpc"])
def test_a_lost_reply_leaves_nothing_that_nobody_is_told_of(
    open_install: OpenScene, operation: str
) -> None:
    scene = open_install("foundation")
    scene.put({"kind": "execute-and-timeout", "operation": operation, "call": 1})
    state = scene.go()
    assert scene.struck() == [operation]
    judge(scene, state)


def test_an_expired_session_is_replaced_and_the_install_succeeds(open_install: OpenScene) -> None:
    scene = open_install("foundation")
    scene.put({"kind": "expire", "operation": "CreateSubnet", "call": 1})
    state = scene.go()
    assert scene.struck() == ["CreateSubnet"]
    judge(scene, state)
    assert state == "succeeded", scene.why()
