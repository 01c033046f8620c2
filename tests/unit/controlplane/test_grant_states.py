"""The state machine of an access grant, and what a probe's attempts mean."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.core.errors import ConflictError
from controlplane.domains.connections.service import judge
from controlplane.domains.grants.states import ALLOWED, require
from controlplane.tables.access import ENDED_GRANT_STATES, GrantState
from controlplane.tables.organizations import ConnectionState


def attempts(**allowed: bool) -> list[dict[str, Any]]:
    """Return a probe's attempts by external id."""
    return [{"external_id": k, "allowed": v, "error_code": None} for k, v in allowed.items()]


def test_every_state_says_what_may_follow() -> None:
    assert set(ALLOWED) == set(GrantState)


def test_an_ended_grant_never_opens_again() -> None:
    open_states = set(GrantState) - ENDED_GRANT_STATES
    for state in ENDED_GRANT_STATES:
        assert not ALLOWED[state] & open_states


def test_only_an_approved_grant_becomes_active() -> None:
    assert [s for s in GrantState if GrantState.ACTIVE in ALLOWED[s]] == [GrantState.APPROVED]


@pytest.mark.parametrize("state", [s for s in GrantState if GrantState.APPROVED not in ALLOWED[s]])
def test_approving_in_another_state_is_a_conflict(state: GrantState) -> None:
    with pytest.raises(ConflictError, match=f"the grant is {state}"):
        require(state, GrantState.APPROVED)


@pytest.mark.parametrize(
    ("expect", "found", "passed", "state"),
    [
        ("closed", attempts(ours=False, none=False, wrong=False), True, ConnectionState.CLOSED),
        ("open", attempts(ours=True, none=False, wrong=False), True, ConnectionState.OPEN),
        ("open", attempts(ours=False, none=False, wrong=False), False, ConnectionState.CLOSED),
        ("closed", attempts(ours=True, none=False, wrong=False), False, ConnectionState.OPEN),
        ("open", attempts(ours=True, none=True, wrong=False), False, ConnectionState.UNSAFE),
        ("open", attempts(ours=True, none=False, wrong=True), False, ConnectionState.UNSAFE),
        (
            "open",
            attempts(ours=True, none=False, wrong=False, foreign=True),
            False,
            ConnectionState.UNSAFE,
        ),
        ("closed", attempts(ours=False, none=True, wrong=False), False, ConnectionState.UNSAFE),
        ("closed", attempts(ours=False), False, None),
        ("open", attempts(ours=True), False, None),
        ("closed", attempts(none=True), False, ConnectionState.UNSAFE),
        ("closed", [], False, None),
    ],
)
def test_a_probe_passes_only_when_all_negative_attempts_were_made_and_denied(
    expect: str, found: list[dict[str, Any]], passed: bool, state: ConnectionState | None
) -> None:
    assert judge(expect, found) == (passed, state)
