"""Malformed policy documents are refused with the field named."""

from __future__ import annotations

from typing import Any

import pytest

from iam.conditions import condition_holds
from iam.documents import Condition, PolicyError, parse_policy

GOOD = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


def document(statement: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statement}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{", "not JSON"),
        ("[]", "JSON object"),
        ({"Version": "2020-01-01", "Statement": []}, "Version"),
        ({"Version": "2012-10-17", "Statements": []}, "Statements"),
        ({"Version": "2012-10-17"}, "Statement must be"),
        (document([{**GOOD, "Effect": "allow"}]), "Effect must be Allow or Deny"),
        (document([{**GOOD, "Actions": "x"}]), "'Actions'"),
        (document([{"Effect": "Allow", "Resource": "*"}]), "exactly one of Action"),
        (document([{**GOOD, "NotAction": "x"}]), "exactly one of Action"),
        (document([{**GOOD, "NotResource": "x"}]), "one of Resource and NotResource"),
        (document([{**GOOD, "Action": 7}]), "Statement[0].Action"),
        (document([{**GOOD, "Principal": {"Aws": "x"}}]), "principal type 'Aws'"),
        (document([{**GOOD, "Condition": []}]), "Condition must be an object"),
        (document([{**GOOD, "Condition": {"Bool": "x"}}]), "Condition.Bool must be an object"),
    ],
)
def test_a_malformed_document_is_refused_with_the_field(given: Any, message: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(given)
    assert message in str(caught.value)


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(PolicyError, match="operator 'StringMatches' is unknown"):
        condition_holds(Condition("StringMatches", "aws:x", ("a",)), {"aws:x": "a"})


def test_an_unknown_set_operator_is_refused() -> None:
    with pytest.raises(PolicyError, match="set operator 'forsome' is unknown"):
        condition_holds(Condition("ForSome:StringEquals", "aws:x", ("a",)), {"aws:x": "a"})


def test_a_single_statement_and_booleans_are_accepted() -> None:
    policy = parse_policy(document({**GOOD, "Condition": {"Bool": {"aws:x": True}}}))
    assert policy.statements[0].conditions[0].values == ("true",)
