"""The diff of permissions: one meaning is no difference, and nothing is called less unproven."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iam.conditions import condition_holds
from iam.containment import arn_covers, covers, is_disjoint, value_covers
from iam.documents import Condition, Policy, parse_policy
from iam.evaluator import AccessRequest, PolicySet, Principal, evaluate
from iam.patterns import matches
from iam.policy_atoms import ConditionTest, NormalForm, normalize
from iam.policy_diff import Change, compare

WHO = Principal(account="1", arn="arn:aws:iam::1:role/r", role_arn="arn:aws:iam::1:role/r")
SWAPPED = {"added": "removed", "removed": "added", "widened": "narrowed", "narrowed": "widened"}
POWERS = {"more": "less", "less": "more"}
ACTIONS = ["s:A", "s:AB", "s:a*", "s:*", "t:A", "s:?", "*"]
RESOURCES = ["x", "xy", "x*", "*", "z/${aws:PrincipalTag/t}", "z/*", "?y"]
VALUES = ["u", "v", "u*", "w"]
OPERATORS = [
    "StringEquals", "StringNotEquals", "StringLike", "StringLikeIfExists",
    "StringNotEqualsIfExists",
    "ForAllValues:StringEquals", "ForAnyValue:StringEquals", "ForAnyValue:StringNotEquals", "Null",
    "ForAllValues:StringNotLike",
]  # fmt: skip


def subset(values: list[str]) -> st.SearchStrategy[list[str]]:
    """Some of the values, in any order."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


def condition() -> st.SearchStrategy[dict[str, Any]]:
    """No, one or two tests."""

    def test(operator: str) -> st.SearchStrategy[tuple[str, dict[str, list[str]]]]:
        values = ["true", "false"] if operator == "Null" else VALUES
        keys = st.dictionaries(st.sampled_from(["k", "m"]), subset(values), min_size=1, max_size=2)
        return keys.map(lambda found: (operator, found))

    return st.lists(st.sampled_from(OPERATORS).flatmap(test), max_size=2).map(dict)


def statement() -> st.SearchStrategy[dict[str, Any]]:
    """Any statement of the small world."""
    return st.builds(
        lambda effect, action, actions, resource, resources, tests: {
            "Effect": effect, action: actions, resource: resources, "Condition": tests,
        },
        st.sampled_from(["Allow", "Allow", "Deny"]),
        st.sampled_from(["Action", "Action", "Action", "NotAction"]), subset(ACTIONS),
        st.sampled_from(["Resource", "Resource", "NotResource"]), subset(RESOURCES),
        condition(),
    )  # fmt: skip


STATEMENTS = st.lists(statement(), min_size=1, max_size=3)


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two lists of statements that differ in one element of one statement, or in one statement."""
    one = draw(STATEMENTS)
    fresh, index = draw(statement()), draw(st.integers(0, len(one) - 1))
    element = draw(st.sampled_from(["Effect", "Action", "Resource", "Condition", "all"]))
    changed = (
        {**one[index], element: fresh[element]} if element in one[index].keys() & fresh else fresh
    )
    other = [*one[:index], changed, *one[index + 1 :]]
    return (one, other) if draw(st.booleans()) else (other, one)


def policy(statements: list[dict[str, Any]]) -> Policy:
    """Parse statements as one document."""
    return parse_policy({"Version": "2012-10-17", "Statement": statements})


def form(statements: list[dict[str, Any]]) -> dict[str, NormalForm]:
    """Give the normal form of one part."""
    return {"p": normalize([policy(statements)])}


def diff(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[Change]:
    """Return what is different."""
    return [c for c in compare(form(one), form(other)) if c.status != "unchanged"]


def allow(action: Any, resource: Any = "*", **condition: Any) -> dict[str, Any]:
    """An Allow statement."""
    return {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}


def deny(action: Any, resource: Any = "*", **condition: Any) -> dict[str, Any]:
    """A Deny statement."""
    return {**allow(action, resource, **condition), "Effect": "Deny"}


def requests(seed: int, count: int = 150) -> list[AccessRequest]:
    """Make requests of the small world."""
    chosen = random.Random(seed)
    made = []
    for _ in range(count):
        context: dict[str, Any] = {}
        if chosen.random() < 0.6:
            context["aws:PrincipalTag/t"] = chosen.choice(["x", "q"])
        for key in ("k", "m"):
            kind = chosen.randrange(4)
            if kind == 1:
                context[key] = chosen.choice(["u", "v", "w", "uu"])
            elif kind == 2:
                context[key] = [chosen.choice(["u", "v", "w", "uu"]) for _ in range(2)]
        made.append(
            AccessRequest(
                principal=WHO,
                action=chosen.choice(["s:A", "s:AB", "s:B", "t:A", "t:C"]),
                resource=chosen.choice(["x", "xy", "z/x", "z/q", "y", "zy", "xyz"]),
                context=context,
            )
        )
    return made


def is_allowed(found: Policy, request: AccessRequest) -> bool:
    """Ask the evaluator, which knows nothing of atoms."""
    return evaluate(request, PolicySet(identity=[found])).allowed


@settings(max_examples=150, deadline=None)
@given(STATEMENTS)
def test_nothing_differs_from_itself(statements: list[dict[str, Any]]) -> None:
    assert diff(statements, statements) == []


@settings(max_examples=150, deadline=None)
@given(STATEMENTS, STATEMENTS)
def test_the_way_back_says_the_opposite(
    one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    there = {
        (c.effect, c.actions_before, c.actions_after, c.before, c.after, c.status, c.power)
        for c in compare(form(one), form(other))
    }
    back = {
        (
            c.effect, c.actions_after, c.actions_before, c.after, c.before,
            SWAPPED.get(c.status, c.status), POWERS.get(c.power, c.power),
        )
        for c in compare(form(other), form(one))
    }  # fmt: skip
    assert there == back


@settings(max_examples=150, deadline=None)
@given(STATEMENTS, st.integers(0, 2**32))
def test_another_way_to_write_it_is_no_difference(
    statements: list[dict[str, Any]], seed: int
) -> None:
    chosen = random.Random(seed)
    rewritten = []
    for one in statements:
        pieces = [dict(one)]
        for element in ("Action", "Resource"):
            if element in one:
                pieces = [{**p, element: name} for p in pieces for name in p[element]]
        for piece in pieces:
            tests = list(piece["Condition"].items())
            chosen.shuffle(tests)
            shuffled = {
                op: {k.upper(): chosen.sample(v, len(v)) for k, v in keys.items()}
                for op, keys in tests
            }
            if "Action" in piece:
                piece["Action"] = piece["Action"].swapcase()
            rewritten.append({"Condition": shuffled, **piece, **{"Condition": shuffled}})
    chosen.shuffle(rewritten)
    rewritten.append(rewritten[0])
    assert diff(statements, rewritten) == []


@settings(max_examples=200, deadline=None)
@given(neighbours(), st.integers(0, 2**32))
def test_what_the_evaluator_sees_the_diff_shows_and_less_is_never_more(
    pair: tuple[list[dict[str, Any]], list[dict[str, Any]]], seed: int
) -> None:
    one, other = pair
    before, after = policy(one), policy(other)
    powers = {change.power for change in diff(one, other)}
    for request in requests(seed):
        had, has = is_allowed(before, request), is_allowed(after, request)
        if has and not had:
            assert powers & {"more", "unclear"}, request
        if had and not has:
            assert powers & {"less", "unclear"}, request


def test_containment_agrees_with_every_short_text() -> None:
    texts = ["".join(t) for n in range(5) for t in product("ab", repeat=n)]
    patterns = ["".join(p) for n in range(4) for p in product("ab*?", repeat=n)]
    matched = {p: {t for t in texts if matches(p, t)} for p in patterns}
    for wide, narrow in product(patterns, patterns):
        # A star's every text is longer than what was tried, so only a proof can be checked.
        assert not covers(wide, narrow) or matched[narrow] <= matched[wide], (wide, narrow)
        assert is_disjoint(wide, narrow) == (not matched[narrow] & matched[wide]), (wide, narrow)


CONTEXTS: list[dict[str, Any]] = [
    {}, *({"k": v} for v in ("u", "v", "uu", "x")),
    *({"k": [v, w]} for v in ("u", "v", "uu", "x") for w in ("u", "v", "uu", "x")),
]  # fmt: skip
CONDITIONS = [
    Condition(quantifier + operator + if_exists, "k", values)
    for quantifier in ("", "ForAllValues:", "ForAnyValue:")
    for operator in ("StringEquals", "StringNotEquals", "StringLike", "StringNotLike")
    for if_exists in ("", "IfExists")
    for values in (("u",), ("v",), ("u*",), ("*",), ("u", "v"), ("u*", "v"), ("u", "x"))
] + [Condition("Null", "k", (value,)) for value in ("true", "false", "TRUE")]


def test_a_condition_taken_apart_means_what_it_meant() -> None:
    for one in CONDITIONS:
        apart = normalize([policy([allow("a:B", **{one.operator: {one.key: [*one.values]}})])])
        for context in CONTEXTS:
            expected = condition_holds(one, context)
            held = any(_hold(atom.tests, context) for atom in apart.atoms)
            assert held == expected, (one, context)


def test_a_test_that_follows_from_another_holds_wherever_that_one_does() -> None:
    tests = {
        test
        for one in CONDITIONS
        for atom in normalize(
            [policy([allow("a:B", **{one.operator: {one.key: [*one.values]}})])]
        ).atoms
        for test in atom.tests
    }
    proven = 0
    for wide, narrow in product(tests, tests):
        if wide != narrow and wide.follows_from(narrow):
            proven += 1
            for context in CONTEXTS:
                assert not _hold({narrow}, context) or _hold({wide}, context), (wide, narrow)
    assert proven > 30


def _hold(tests: Iterable[ConditionTest], context: dict[str, Any]) -> bool:
    return all(condition_holds(Condition(t.operator, t.key, t.values), context) for t in tests)


@pytest.mark.parametrize(
    ("before", "after", "status", "power"),
    [
        (["s3:GetObject"], ["s3:GetObject", "s3:PutObject"], "added", "more"),
        (["s3:GetObject", "s3:PutObject"], ["s3:GetObject"], "removed", "less"),
        (["s3:GetObject"], ["s3:Get*"], "widened", "more"),
        (["s3:Get*"], ["s3:GetObject", "s3:GetBucketAcl"], "narrowed", "less"),
    ],
)
def test_actions(before: list[str], after: list[str], status: str, power: str) -> None:
    (change,) = diff([allow(before)], [allow(after)])
    assert (change.status, change.power) == (status, power)


def test_one_more_resource_widens_and_another_one_is_a_change() -> None:
    (wider,) = diff([allow("a:B", ["x"])], [allow("a:B", ["x", "y"])])
    (moved,) = diff([allow("a:B", ["x", "z"])], [allow("a:B", ["x", "y"])])
    assert (wider.status, moved.status, moved.power) == ("widened", "changed", "unclear")


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ({}, {"StringEquals": {"k": "u"}}, "narrowed"),
        ({"StringEquals": {"k": ["u", "v"]}}, {"StringEquals": {"k": "u"}}, "narrowed"),
        ({"StringNotEquals": {"k": "u"}}, {"StringNotEquals": {"k": ["u", "v"]}}, "narrowed"),
        ({"StringEqualsIfExists": {"k": "u"}}, {"StringEquals": {"k": "u"}}, "narrowed"),
        ({"StringLike": {"k": "u*"}}, {"StringLike": {"k": "uv*"}}, "narrowed"),
        ({"ArnLike": {"k": "arn:aws:iam::1:*"}}, {"ArnLike": {"k": "arn:*:iam::1:x"}}, "changed"),
        ({"DateLessThan": {"k": "2026-05-02T00:00:00Z"}},
         {"DateLessThan": {"k": "2026-05-01T00:00:00Z"}}, "narrowed"),
        ({"IpAddress": {"k": "10.0.0.0/8"}}, {"IpAddress": {"k": "10.2.0.0/16"}}, "narrowed"),
        ({"StringEquals": {"k": "u"}}, {"StringEquals": {"m": "u"}}, "changed"),
        # Equal for people, and not proven: so it is not called narrower.
        ({"StringEquals": {"k": "u"}}, {"StringLike": {"k": "u"}}, "changed"),
    ],
)  # fmt: skip
def test_conditions(before: dict[str, Any], after: dict[str, Any], status: str) -> None:
    (change,) = diff([allow("a:B", **before)], [allow("a:B", **after)])
    assert change.status == status
    (back,) = diff([allow("a:B", **after)], [allow("a:B", **before)])
    assert back.status == SWAPPED.get(status, status)


def test_a_deny_that_goes_away_gives_power() -> None:
    (gone,) = diff([allow("a:*"), deny("a:B")], [allow("a:*")])
    assert (gone.effect, gone.status, gone.power) == ("Deny", "removed", "more")
    (weaker,) = diff([deny("a:*")], [deny("a:B")])
    assert (weaker.status, weaker.power) == ("narrowed", "more")


def test_values_that_were_split_for_the_comparison_are_shown_together() -> None:
    tests = {"StringEquals": {"k": ["u", "v"], "m": ["1", "2"]}}
    (line,) = compare({}, form([allow("a:B", ["y", "x"], **tests)]))
    (access,) = line.after
    assert [n.patterns for n in access.resources] == [("x",), ("y",)]
    assert [(t.key, t.values) for t in access.tests] == [("k", ("u", "v")), ("m", ("1", "2"))]


def test_alternatives_that_are_not_all_combinations_stay_apart() -> None:
    (line,) = compare(
        {},
        form([allow("a:B", StringEquals={"k": k, "m": m}) for k, m in (("u", "1"), ("v", "2"))]),
    )
    assert [[t.values for t in access.tests] for access in line.after] == [
        [("u",), ("1",)],
        [("v",), ("2",)],
    ]


def test_actions_that_are_read_together_keep_what_each_is_used_on() -> None:
    (line,) = diff([allow("s:*")], [allow("s:A", "x"), allow("s:B", "y")])
    assert line.status == "narrowed"
    assert [(a.actions, a.resources[0].patterns) for a in line.after] == [
        (("s:A",), ("x",)),
        (("s:B",), ("y",)),
    ]


def test_a_wildcard_in_an_arn_condition_does_not_cross_its_colons() -> None:
    assert arn_covers("arn:aws:iam::*:role/*", "arn:aws:iam::1:role/x")
    assert not arn_covers("arn:aws:*:role/x", "arn:aws:iam::1:role/x")
    assert not value_covers("arnlike", "arn:*", "arn:aws:iam::1:role/x")
