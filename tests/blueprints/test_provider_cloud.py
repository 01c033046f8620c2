"""The account as the types see it: waiting, repeating, stopping, and the words of errors."""

import threading
import time
from collections.abc import Iterator

import pytest

from sandbox.aws_provider.cloud import CancelledError, Cloud, CloudError, NotReadyError


@pytest.fixture
def cloud() -> Cloud:
    """Return an account that is never called."""
    return Cloud({"region": "eu-central-1"})


def _states(*values: str) -> Iterator[str]:
    yield from values
    while True:
        yield values[-1]


def test_waiting_ends_when_the_state_is_reached(cloud: Cloud) -> None:
    states = _states("CREATING", "CREATING", "ACTIVE")
    cloud.wait("cluster x", lambda: next(states), ready=("ACTIVE",), seconds=5)


def test_waiting_names_the_object_and_its_failed_state(cloud: Cloud) -> None:
    states = _states("CREATING", "FAILED")
    with pytest.raises(NotReadyError, match="cluster x is FAILED, expected ACTIVE"):
        cloud.wait("cluster x", lambda: next(states), ready=("ACTIVE",), failed=("FAILED",))


def test_waiting_gives_up_after_its_time(cloud: Cloud) -> None:
    with pytest.raises(NotReadyError, match="cluster x is still CREATING after 0 s"):
        cloud.wait("cluster x", lambda: "CREATING", ready=("ACTIVE",), seconds=0.2)


def test_waiting_stops_at_once_when_the_run_is_cancelled(cloud: Cloud) -> None:
    threading.Timer(0.1, cloud.cancelled.set).start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        cloud.wait("cluster x", lambda: "CREATING", ready=("ACTIVE",), seconds=60)
    assert time.monotonic() - started < 5


def test_no_call_is_made_after_a_cancel(cloud: Cloud) -> None:
    cloud.cancelled.set()
    with pytest.raises(CancelledError, match="eks:CreateCluster was not called"):
        cloud.call("eks", "CreateCluster")


class _Failing:
    """An action that fails with an error a number of times, then succeeds."""

    def __init__(self, error: CloudError, times: int) -> None:
        self.left = times
        self.calls = 0
        self._error = error

    def __call__(self) -> str:
        self.calls += 1
        self.left -= 1
        if self.left >= 0:
            raise self._error
        return "done"


def _error(code: str, message: str = "no") -> CloudError:
    return CloudError("eks:CreateCluster", code, message, "r-1")


def test_a_passing_error_is_repeated_until_it_passes(cloud: Cloud) -> None:
    action = _Failing(_error("ResourceInUseException"), 3)
    assert cloud.retry(("ResourceInUseException",), 10, action) == "done"
    assert action.calls == 4


def test_any_other_error_comes_through_at_once(cloud: Cloud) -> None:
    action = _Failing(_error("AccessDeniedException"), 3)
    with pytest.raises(CloudError, match="AccessDeniedException"):
        cloud.retry(("ResourceInUseException",), 10, action)
    assert action.calls == 1


def test_a_bad_parameter_is_not_taken_for_a_role_that_is_not_visible_yet(cloud: Cloud) -> None:
    action = _Failing(_error("InvalidParameterException", "unsupported Kubernetes version"), 3)
    with pytest.raises(CloudError, match="unsupported Kubernetes version"):
        cloud.retry(("InvalidParameterException",), 10, action, about="role")
    assert action.calls == 1


def test_the_last_error_comes_through_when_time_is_up(cloud: Cloud) -> None:
    action = _Failing(_error("ResourceInUseException"), 1000)
    with pytest.raises(CloudError, match=r"ResourceInUseException: no \(request r-1\)"):
        cloud.retry(("ResourceInUseException",), 0.3, action)
    assert action.calls > 1


def test_a_missing_region_is_an_error_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    with pytest.raises(CloudError, match="set the provider's region or AWS_REGION"):
        Cloud({}).call("sts", "GetCallerIdentity")
