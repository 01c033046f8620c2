"""How a sign-in was done, as the provider says it: more than one factor, one, or not said."""

from __future__ import annotations

import pytest

from controlplane.domains.identity.factors import second_factor

CASES: list[tuple[list[str], str | None, str]] = [
    (["pwd", "otp"], None, "yes (otp)"),
    (["pwd", "otp", "mfa"], None, "yes (otp)"),
    (["mfa"], None, "yes (mfa)"),
    (["pwd", "mfa"], None, "yes (mfa)"),
    (["fpt", "hwk"], None, "yes (fpt, hwk)"),
    (["pwd"], None, "no"),
    (["pwd", "pin"], None, "no"),
    (["otp"], None, "no"),
    (["pwd"], "phr", "yes (phr)"),
    (["pwd"], "urn:example:silver", "no"),
    ([], "0", "unknown"),
    ([], None, "unknown"),
    (["wia"], None, "unknown"),
    (["pwd", "something-else"], None, "unknown"),
]


@pytest.mark.parametrize(
    ("methods", "context", "expected"),
    CASES,
    ids=[f"{'+'.join(m) or 'none'}-{c or 'none'}" for m, c, _ in CASES],
)
def test_two_kinds_of_proof_are_two_factors(
    methods: list[str], context: str | None, expected: str
) -> None:
    assert second_factor(methods, context) == expected
