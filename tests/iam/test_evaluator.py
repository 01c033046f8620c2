"""A truth table of IAM's rules, each case with the page of AWS's documentation that states it.

Pages are below https://docs.aws.amazon.com/IAM/latest/UserGuide/ .
"""
# ruff: noqa: E501 - the rows of the table stay one line each

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from iam.documents import parse_policy
from iam.evaluator import AccessRequest, PolicySet, Principal, evaluate

LOGIC = "reference_policies_evaluation-logic.html"
OPERATORS = "reference_policies_elements_condition_operators.html"
MULTI = "reference_policies_condition-single-vs-multi-valued-context-keys.html"
VARIABLES = "reference_policies_variables.html"
ACTION = "reference_policies_elements_action.html"
NOT_ACTION = "reference_policies_elements_notaction.html"
RESOURCE = "reference_policies_elements_resource.html"
NOT_RESOURCE = "reference_policies_elements_notresource.html"
PRINCIPAL = "reference_policies_elements_principal.html"
BOUNDARY = "access_policies_boundaries.html"
SESSION = "access_policies.html#policies_session"
CROSS = "reference_policies_evaluation-logic-cross-account.html"
CONDITION = "reference_policies_elements_condition.html"

ACCOUNT, OTHER = "111122223333", "999988887777"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
CALLER = Principal(f"arn:aws:sts::{ACCOUNT}:assumed-role/app/s", ACCOUNT, ROLE)
STRANGER_ROLE = f"arn:aws:iam::{OTHER}:role/app"
STRANGER = Principal(f"arn:aws:sts::{OTHER}:assumed-role/app/s", OTHER, STRANGER_ROLE)
POD = Principal("", "", service="pods.eks.amazonaws.com")
BUCKET = "arn:aws:s3:::data"


def one(effect: str = "Allow", **parts: Any) -> dict[str, Any]:
    """Write a statement; action and resource are everything unless given."""
    statement: dict[str, Any] = {"Effect": effect, **parts}
    if "Action" not in parts and "NotAction" not in parts:
        statement["Action"] = "*"
    if not {"Resource", "NotResource"} & set(parts):
        statement["Resource"] = "*"
    return statement


def allow(**parts: Any) -> dict[str, Any]:
    return one("Allow", **parts)


def deny(**parts: Any) -> dict[str, Any]:
    return one("Deny", **parts)


def when(operator: str, key: str, *values: str) -> dict[str, Any]:
    """Write an allow under one condition."""
    return allow(Condition={operator: {key: list(values)}})


@dataclass
class Case:
    """One row: policies, request, and what AWS answers."""

    says: str
    allowed: bool
    page: str
    identity: list[dict[str, Any]] = field(default_factory=lambda: [allow()])
    boundary: list[dict[str, Any]] | None = None
    session: list[dict[str, Any]] | None = None
    resource: list[dict[str, Any]] = field(default_factory=list)
    owner: str = ACCOUNT
    must: bool = False
    who: Principal = CALLER
    action: str = "s3:GetObject"
    on: str = f"{BUCKET}/a"
    context: dict[str, Any] = field(default_factory=dict)


def grant(principal: Any, **parts: Any) -> dict[str, Any]:
    """Write a statement of a resource policy."""
    return allow(Principal=principal, **parts)


NOW = {"aws:CurrentTime": "2026-11-22T12:00:00Z"}
TAG = {"aws:PrincipalTag/team": "blue"}

CASES = [
    # Order of decisions
    Case("nothing allows: denied", False, LOGIC, identity=[]),
    Case("an allow is enough", True, LOGIC),
    Case("an explicit deny wins over an allow", False, LOGIC, identity=[allow(), deny()]),
    Case("a deny elsewhere does not matter", True, LOGIC,
         identity=[allow(), deny(Action="ec2:*")]),
    Case("a deny with an unmet condition does not matter", True, LOGIC,
         identity=[allow(), deny(Condition={"Bool": {"aws:x": "true"}})], context={"aws:x": "false"}),
    Case("a boundary that allows leaves the allow", True, BOUNDARY, boundary=[allow()]),
    Case("a boundary alone grants nothing", False, BOUNDARY, identity=[], boundary=[allow()]),
    Case("a boundary that does not allow denies", False, BOUNDARY,
         boundary=[allow(Action="ec2:*")]),
    Case("an empty boundary denies everything", False, BOUNDARY, boundary=[]),
    Case("a deny in the boundary wins", False, BOUNDARY, boundary=[allow(), deny(Action="s3:*")]),
    Case("a session policy narrows", False, SESSION, session=[allow(Action="ec2:*")]),
    Case("a session policy that allows leaves the allow", True, SESSION, session=[allow()]),
    Case("a session policy grants nothing", False, SESSION, identity=[], session=[allow()]),
    Case("boundary and session must both allow", False, SESSION,
         boundary=[allow()], session=[allow(Action="ec2:*")]),
    Case("a deny in the session policy wins", False, SESSION, session=[allow(), deny()]),
    # Resource policies in one account
    Case("a resource policy for the role is enough in its account", True, LOGIC,
         identity=[], resource=[grant({"AWS": ROLE})]),
    Case("a grant to the role is limited by the boundary", False, BOUNDARY,
         identity=[], boundary=[allow(Action="ec2:*")], resource=[grant({"AWS": ROLE})]),
    Case("a grant to the very session is not", True, BOUNDARY,
         identity=[], boundary=[allow(Action="ec2:*")], resource=[grant({"AWS": CALLER.arn})]),
    Case("a grant to the account delegates only", False, PRINCIPAL,
         identity=[], resource=[grant({"AWS": f"arn:aws:iam::{ACCOUNT}:root"})]),
    Case("a resource policy's deny wins", False, LOGIC,
         resource=[deny(Principal="*")]),
    Case("a deny for another principal does not matter", True, LOGIC,
         resource=[deny(Principal={"AWS": STRANGER_ROLE})]),
    Case("a key policy must allow or delegate", False,
         "https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html", must=True),
    Case("a key policy that delegates lets identity decide", True,
         "https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html", must=True,
         resource=[grant({"AWS": f"arn:aws:iam::{ACCOUNT}:root"})]),
    Case("delegation without an identity allow is nothing", False,
         "https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html", must=True,
         identity=[], resource=[grant({"AWS": f"arn:aws:iam::{ACCOUNT}:root"})]),
    Case("an account id stands for its root", True, PRINCIPAL, must=True,
         resource=[grant({"AWS": ACCOUNT})]),
    # Across accounts
    Case("across accounts both sides must allow", True, CROSS, who=STRANGER,
         resource=[grant({"AWS": STRANGER_ROLE})]),
    Case("across accounts identity alone is not enough", False, CROSS, who=STRANGER),
    Case("across accounts the resource alone is not enough", False, CROSS, who=STRANGER,
         identity=[], resource=[grant({"AWS": STRANGER_ROLE})]),
    Case("a grant to another role of that account is not ours", False, CROSS, who=STRANGER,
         resource=[grant({"AWS": f"arn:aws:iam::{OTHER}:role/other"})]),
    Case("a grant to the foreign account delegates to it", True, CROSS, who=STRANGER,
         resource=[grant({"AWS": f"arn:aws:iam::{OTHER}:root"})]),
    # Principals
    Case("a role ARN with a wildcard inside matches nobody", False, PRINCIPAL, who=STRANGER,
         resource=[grant({"AWS": f"arn:aws:iam::{OTHER}:role/*"})]),
    Case("the star matches everybody", True, PRINCIPAL, who=STRANGER, resource=[grant("*")]),
    Case("AWS star matches everybody", True, PRINCIPAL, who=STRANGER,
         resource=[grant({"AWS": "*"})]),
    Case("a service is named by its principal", True, PRINCIPAL, who=POD, identity=[], must=True,
         resource=[grant({"Service": "pods.eks.amazonaws.com"})]),
    Case("another service is refused", False, PRINCIPAL, who=POD, identity=[], must=True,
         resource=[grant({"Service": "ec2.amazonaws.com"})]),
    Case("a service is no AWS principal", False, PRINCIPAL, who=POD, identity=[], must=True,
         resource=[grant({"AWS": "pods.eks.amazonaws.com"})]),
    Case("NotPrincipal with deny spares the named", True,
         "reference_policies_elements_notprincipal.html",
         resource=[deny(NotPrincipal={"AWS": [ROLE, f"arn:aws:iam::{ACCOUNT}:root"]})]),
    Case("NotPrincipal with deny hits the others", False,
         "reference_policies_elements_notprincipal.html", who=CALLER,
         resource=[deny(NotPrincipal={"AWS": STRANGER_ROLE})]),
    # Actions
    Case("actions ignore case", True, ACTION, identity=[allow(Action="S3:getobject")]),
    Case("a wildcard inside an action matches", True, ACTION, identity=[allow(Action="s3:Get*")]),
    Case("a question mark is one letter", True, ACTION, identity=[allow(Action="s3:GetObjec?")]),
    Case("a question mark is not none", False, ACTION, identity=[allow(Action="s3:GetObject?")]),
    Case("a prefix alone does not match", False, ACTION, identity=[allow(Action="s3:Get")]),
    Case("another service does not match", False, ACTION, identity=[allow(Action="s3-x:*")]),
    Case("a list matches by any", True, ACTION, identity=[allow(Action=["ec2:*", "s3:GetObject"])]),
    Case("NotAction allows the others", True, NOT_ACTION, identity=[allow(NotAction="iam:*")]),
    Case("NotAction does not allow the named", False, NOT_ACTION,
         identity=[allow(NotAction="s3:*")]),
    Case("deny with NotAction denies the others", False, NOT_ACTION,
         identity=[allow(), deny(NotAction="iam:*")]),
    # Resources
    Case("resources keep case", False, RESOURCE, identity=[allow(Resource="arn:aws:s3:::DATA/a")]),
    Case("a star at the end crosses slashes", True, RESOURCE,
         identity=[allow(Resource=f"{BUCKET}/*")], on=f"{BUCKET}/x/y"),
    Case("a bucket is not its objects", False, RESOURCE, identity=[allow(Resource=BUCKET)]),
    Case("objects are not the bucket", False, RESOURCE,
         identity=[allow(Resource=f"{BUCKET}/*")], on=BUCKET),
    Case("a longer name does not match", False, RESOURCE,
         identity=[allow(Resource=f"{BUCKET}/*")], on="arn:aws:s3:::data2/a"),
    Case("NotResource allows the others", True, NOT_RESOURCE,
         identity=[allow(NotResource="arn:aws:s3:::secret/*")]),
    Case("NotResource does not allow the named", False, NOT_RESOURCE,
         identity=[allow(NotResource=f"{BUCKET}/*")]),
    # Conditions: strings
    Case("StringEquals keeps case", False, OPERATORS, [when("StringEquals", "aws:x", "A")],
         context={"aws:x": "a"}),
    Case("StringEquals has no wildcards", False, OPERATORS, [when("StringEquals", "aws:x", "a*")],
         context={"aws:x": "ab"}),
    Case("several values are alternatives", True, CONDITION, [when("StringEquals", "aws:x", "a", "b")],
         context={"aws:x": "b"}),
    Case("several keys must all hold", False, CONDITION,
         [allow(Condition={"StringEquals": {"aws:x": "a", "aws:y": "b"}})], context={"aws:x": "a"}),
    Case("several operators must all hold", False, CONDITION,
         [allow(Condition={"StringEquals": {"aws:x": "a"}, "Bool": {"aws:y": "true"}})],
         context={"aws:x": "a", "aws:y": "false"}),
    Case("a missing key fails StringEquals", False, OPERATORS, [when("StringEquals", "aws:x", "a")]),
    Case("a missing key passes StringNotEquals", True, OPERATORS,
         [when("StringNotEquals", "aws:x", "a")]),
    Case("StringNotEquals needs none of the values", False, OPERATORS,
         [when("StringNotEquals", "aws:x", "a", "b")], context={"aws:x": "b"}),
    Case("StringEqualsIgnoreCase ignores case", True, OPERATORS,
         [when("StringEqualsIgnoreCase", "aws:x", "A")], context={"aws:x": "a"}),
    Case("StringLike has wildcards", True, OPERATORS, [when("StringLike", "aws:x", "a*")],
         context={"aws:x": "abc"}),
    Case("StringNotLike is its opposite", False, OPERATORS, [when("StringNotLike", "aws:x", "a*")],
         context={"aws:x": "abc"}),
    Case("IfExists passes a missing key", True, OPERATORS,
         [when("StringEqualsIfExists", "aws:x", "a")]),
    Case("IfExists checks a present key", False, OPERATORS,
         [when("StringEqualsIfExists", "aws:x", "a")], context={"aws:x": "b"}),
    Case("condition keys ignore case", True, CONDITION, [when("StringEquals", "AWS:X", "a")],
         context={"aws:x": "a"}),
    # Conditions: other kinds
    Case("Null true wants the key absent", True, OPERATORS, [when("Null", "aws:x", "true")]),
    Case("Null false wants the key present", False, OPERATORS, [when("Null", "aws:x", "false")]),
    Case("Bool compares words", True, OPERATORS, [when("Bool", "aws:x", "true")],
         context={"aws:x": "True"}),
    Case("a missing key fails Bool", False, OPERATORS, [when("Bool", "aws:x", "false")]),
    Case("before the end DateLessThan holds", True, OPERATORS,
         [when("DateLessThan", "aws:CurrentTime", "2026-11-22T12:00:01Z")], context=NOW),
    Case("at the end DateLessThan fails", False, OPERATORS,
         [when("DateLessThan", "aws:CurrentTime", "2026-11-22T12:00:00Z")], context=NOW),
    Case("at the end DateLessThanEquals holds", True, OPERATORS,
         [when("DateLessThanEquals", "aws:CurrentTime", "2026-11-22T12:00:00Z")], context=NOW),
    Case("dates compare across zones", True, OPERATORS,
         [when("DateLessThan", "aws:CurrentTime", "2026-11-22T14:00:01+02:00")], context=NOW),
    Case("epoch seconds are dates", True, OPERATORS,
         [when("DateGreaterThan", "aws:CurrentTime", "1000000000")], context=NOW),
    Case("an unreadable date fails", False, OPERATORS,
         [when("DateLessThan", "aws:CurrentTime", "soon")], context=NOW),
    Case("numbers compare as numbers", True, OPERATORS, [when("NumericLessThan", "aws:n", "10")],
         context={"aws:n": "9"}),
    Case("an address in the network passes", True, OPERATORS,
         [when("IpAddress", "aws:SourceIp", "203.0.113.0/24")], context={"aws:SourceIp": "203.0.113.9"}),
    Case("NotIpAddress is its opposite", False, OPERATORS,
         [when("NotIpAddress", "aws:SourceIp", "203.0.113.0/24")],
         context={"aws:SourceIp": "203.0.113.9"}),
    Case("ArnLike has wildcards in a part", True, OPERATORS,
         [when("ArnLike", "aws:x", "arn:aws:iam::*:role/app")], context={"aws:x": ROLE}),
    Case("ArnEquals behaves like ArnLike", True, OPERATORS,
         [when("ArnEquals", "aws:x", "arn:*:iam::aws:policy/AWSDenyAll")],
         context={"aws:x": "arn:aws:iam::aws:policy/AWSDenyAll"}),
    Case("a wildcard does not cross the colons of an ARN", False, OPERATORS,
         [when("ArnLike", "aws:x", "arn:*:role/app")], context={"aws:x": ROLE}),
    Case("ArnNotEquals is true for another ARN", True, OPERATORS,
         [when("ArnNotEquals", "aws:x", ROLE)], context={"aws:x": STRANGER_ROLE}),
    Case("BinaryEquals compares bytes", True, OPERATORS, [when("BinaryEquals", "aws:x", "QQ==")],
         context={"aws:x": "QQ=="}),
    # Multivalued keys
    Case("ForAnyValue needs one match", True, MULTI,
         [when("ForAnyValue:StringEquals", "aws:TagKeys", "a")], context={"aws:TagKeys": ["b", "a"]}),
    Case("ForAnyValue fails without a match", False, MULTI,
         [when("ForAnyValue:StringEquals", "aws:TagKeys", "a")], context={"aws:TagKeys": ["b"]}),
    Case("ForAnyValue fails a missing key", False, MULTI,
         [when("ForAnyValue:StringEquals", "aws:TagKeys", "a")]),
    Case("ForAllValues needs every value to match", False, MULTI,
         [when("ForAllValues:StringEquals", "aws:TagKeys", "a")], context={"aws:TagKeys": ["b", "a"]}),
    Case("ForAllValues passes a subset", True, MULTI,
         [when("ForAllValues:StringEquals", "aws:TagKeys", "a", "b")], context={"aws:TagKeys": ["a"]}),
    Case("ForAllValues passes a missing key", True, MULTI,
         [when("ForAllValues:StringEquals", "aws:TagKeys", "a")]),
    # Variables
    Case("a variable in a resource is filled in", True, VARIABLES,
         [allow(Resource=f"{BUCKET}/${{aws:PrincipalTag/team}}/*")], on=f"{BUCKET}/blue/x", context=TAG),
    Case("another value does not match", False, VARIABLES,
         [allow(Resource=f"{BUCKET}/${{aws:PrincipalTag/team}}/*")], on=f"{BUCKET}/red/x", context=TAG),
    Case("a missing variable never matches", False, VARIABLES,
         [allow(Resource=f"{BUCKET}/${{aws:PrincipalTag/team}}/*")], on=f"{BUCKET}//x"),
    Case("a missing variable takes its default", True, VARIABLES,
         [allow(Resource=f"{BUCKET}/${{aws:PrincipalTag/team, 'all'}}/*")], on=f"{BUCKET}/all/x"),
    Case("a wildcard in a variable's value is a letter", False, VARIABLES,
         [allow(Resource=f"{BUCKET}/${{aws:PrincipalTag/team}}/x")], on=f"{BUCKET}/blue/x",
         context={"aws:PrincipalTag/team": "*"}),
    Case("a variable in a condition is filled in", True, VARIABLES,
         [when("StringEquals", "aws:ResourceTag/team", "${aws:PrincipalTag/team}")],
         context={**TAG, "aws:ResourceTag/team": "blue"}),
    Case("two missing tags are not equal", False, VARIABLES,
         [when("StringEquals", "aws:ResourceTag/team", "${aws:PrincipalTag/team}")]),
    Case("the star can be written as a letter", False, VARIABLES,
         [allow(Resource=f"{BUCKET}/${{*}}")], on=f"{BUCKET}/a"),
]  # fmt: skip


def run(case: Case) -> bool:
    """Evaluate a case."""

    def policies(statements: list[dict[str, Any]]) -> list[Any]:
        document = {"Version": "2012-10-17", "Statement": statements}
        return [parse_policy(document, "p")] if statements else []

    decision = evaluate(
        AccessRequest(case.action, case.on, case.who, case.context),
        PolicySet(
            identity=policies(case.identity),
            boundary=None if case.boundary is None else policies(case.boundary),
            session=None if case.session is None else policies(case.session),
            resource=policies(case.resource),
            resource_account=case.owner,
            resource_must_allow=case.must,
        ),
    )
    return decision.allowed


@pytest.mark.parametrize("case", CASES, ids=[f"{one.says} [{one.page}]" for one in CASES])
def test_the_evaluator_decides_as_aws_documents(case: Case) -> None:
    assert run(case) is case.allowed


@pytest.mark.parametrize("case", CASES, ids=[one.says for one in CASES])
def test_adding_a_deny_never_allows(case: Case) -> None:
    denied = Case(**{**vars(case), "identity": [*case.identity, deny()]})
    if case.who.service:
        denied = Case(**{**vars(case), "resource": [*case.resource, deny(Principal="*")]})
    assert run(denied) is False


@pytest.mark.parametrize("case", CASES, ids=[one.says for one in CASES])
def test_removing_the_allows_never_allows(case: Case) -> None:
    stripped = Case(
        **{
            **vars(case),
            "identity": [s for s in case.identity if s["Effect"] == "Deny"],
            "resource": [s for s in case.resource if s["Effect"] == "Deny"],
        }
    )
    assert run(stripped) is False


def test_variables_of_the_old_version_are_letters() -> None:
    document = {"Version": "2008-10-17", "Statement": [allow(Resource=f"{BUCKET}/${{aws:x}}")]}
    request = AccessRequest("s3:GetObject", f"{BUCKET}/a", CALLER, {"aws:x": "a"})
    assert not evaluate(request, PolicySet(identity=[parse_policy(document)])).allowed


def test_the_decision_names_the_statement() -> None:
    document = {"Version": "2012-10-17", "Statement": [{**deny(), "Sid": "Stop"}]}
    request = AccessRequest("s3:GetObject", f"{BUCKET}/a", CALLER)
    decision = evaluate(request, PolicySet(identity=[parse_policy(document, "mine")]))
    assert (decision.policy, decision.sid, decision.explicit) == ("mine", "Stop", True)
    assert decision.explain() == "with an explicit deny in an identity-based policy"
