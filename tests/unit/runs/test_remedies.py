"""A stopped run says why and what is safe to do; the documentation shows the same table."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.core.run_engine.decide import PARKED
from controlplane.domains.runs.remedies import REMEDIES, remedy_for

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "run-failures.md"


def test_the_documentation_shows_every_remedy_as_it_is() -> None:
    page = PAGE.read_text()
    shown = [line for line in page.splitlines() if line.startswith("| `")]
    assert shown == [
        f"| `{code}` | {remedy.cause} | {remedy.next_action.replace('{run}', 'RUN')} |"
        for code, remedy in REMEDIES.items()
    ]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("up of stack cluster failed: AccessDenied: no", "aws-denied"),
        ("x is not authorized to perform: eks:CreateCluster", "aws-denied"),
        ("ExpiredToken: the security token is expired", "aws-session-ended"),
        ("VpcLimitExceeded: too many", "aws-throttled"),
        ("InvalidSubnet.Conflict", "engine-failed"),
    ],
)
def test_a_providers_message_is_read_for_a_better_remedy(message: str, code: str) -> None:
    assert remedy_for("failed", "engine-failed", message) is REMEDIES[code]


def test_what_waits_without_an_error_has_the_remedy_of_its_state() -> None:
    for state in PARKED - {"stuck", "needs-attention"}:
        assert remedy_for(state, None, None) is REMEDIES[state]
    assert remedy_for("running", None, None) is None
    assert remedy_for("failed", "a-code-of-tomorrow", "") is None
