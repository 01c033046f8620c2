"""Whatever is sent to whichever route by whomever: a documented answer, never a 5xx."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from structlog.testing import capture_logs

from tests.integration.authorization.world import World
from tests.integration.fuzz.cases import Raw, operations, requests_to

SEED = 20260727
CASES = 48
"""Per operation; together more than two thousand."""
OPERATIONS = list(operations())
SEEN: Counter[int] = Counter()


def problem(answer: Any, logs: Sequence[Mapping[str, Any]] = ()) -> str | None:
    """Return what is wrong with an answer; a stream that broke off shows in the log only."""
    if any(line["event"] == "request failed" for line in logs):
        return f"{answer.status_code}, and then it failed"
    if answer.status_code >= 500:
        return f"{answer.status_code}: {answer.text[:300]}"
    if answer.status_code < 400:
        return None
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} without an error body: {answer.text[:300]}"
    missing = [k for k in ("code", "message", "request_id") if not isinstance(error.get(k), str)]
    return f"{answer.status_code} without {missing}" if missing else None


def send(world: World, raw: Raw) -> Any:
    """Send a request as it stands."""
    headers = dict(raw.headers)
    if raw.role is not None:
        headers["Authorization"] = f"Bearer {world.callers[raw.role, 'organization']}"
    if raw.content is not None:
        headers["Content-Type"] = "application/json"
    return world.client.request(
        raw.method, raw.path, params=raw.query, headers=headers, content=raw.content
    )


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: f"{o.method.upper()} {o.path}")
def test_no_request_makes_a_server_error(operation: Any, world: World) -> None:
    print(f"seed {SEED}")
    ran = 0

    @seed(SEED)
    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
        report_multiple_bugs=False,
    )
    @given(requests_to(operation, world))
    def ask(raw: Raw) -> None:
        nonlocal ran
        ran += 1
        with capture_logs() as logs:
            answer = send(world, raw)
        SEEN[answer.status_code] += 1
        found = problem(answer, logs)
        assert found is None, f"{found}\n{raw!r}"[:3000]

    ask()
    assert ran >= CASES * 0.9


@pytest.mark.slow
def test_two_thousand_cases_are_asked_and_some_are_answered(world: World) -> None:
    """Runs after the others; a fuzzer that is always refused at the door proves nothing."""
    # Each test above has counted its own; test processes share them out.
    assert len(OPERATIONS) * CASES * 0.9 >= 2000
    total = sum(SEEN.values())
    print(dict(SEEN))
    if total >= 1000:
        assert sum(n for status, n in SEEN.items() if status < 300) >= total * 0.04
