"""The Condition element: every operator with IfExists, ForAllValues and ForAnyValue.

Used by the evaluator; apart from it because the rules for missing and multivalued keys are a
subject of their own.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from iam.documents import Condition, PolicyError
from iam.patterns import Context, arn_matches, lookup, matches

# Takes (policy value, request value, context for variables); None means no substitution.
Test = Callable[[str, str, Context | None], bool]


def _string(wanted: str, given: str, context: Context | None) -> bool:
    """Compare case-sensitively, without wildcards."""
    return matches(wanted, given, context, wildcards=False)


def _string_ignore_case(wanted: str, given: str, context: Context | None) -> bool:
    """Compare without case and without wildcards."""
    return matches(wanted, given, context, wildcards=False, ignore_case=True)


def _like(wanted: str, given: str, context: Context | None) -> bool:
    """Compare case-sensitively with * and ?."""
    return matches(wanted, given, context)


def _arn(wanted: str, given: str, context: Context | None) -> bool:
    """Compare ARNs part by part; ArnEquals and ArnLike behave identically."""
    return arn_matches(wanted, given, context)


def _boolean(wanted: str, given: str, context: Context | None) -> bool:
    """Compare true and false in any case."""
    return wanted.lower() == given.lower()


def _binary(wanted: str, given: str, context: Context | None) -> bool:
    """Compare base64 texts by their bytes."""
    try:
        return base64.b64decode(wanted, validate=True) == base64.b64decode(given, validate=True)
    except binascii.Error:
        return False


def _in_network(wanted: str, given: str, context: Context | None) -> bool:
    """Tell whether an address lies in a network (or equals an address)."""
    try:
        return ipaddress.ip_address(given) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 instant or epoch seconds; without zone it is UTC. Raises ValueError."""
    if text.replace(".", "", 1).isdigit() and len(text) != 4:
        return datetime.fromtimestamp(float(text), UTC)
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _dates(compare: Callable[[datetime, datetime], bool]) -> Test:
    """Make a comparison of instants: request value first, policy value second."""

    def test(wanted: str, given: str, context: Context | None) -> bool:
        try:
            return compare(parse_instant(given), parse_instant(wanted))
        except ValueError:
            return False

    return test


def _numbers(compare: Callable[[float, float], bool]) -> Test:
    """Make a comparison of numbers: request value first, policy value second."""

    def test(wanted: str, given: str, context: Context | None) -> bool:
        try:
            return compare(float(given), float(wanted))
        except ValueError:
            return False

    return test


# Name → (test, negated). A negated operator is true when none of its values matches.
_OPERATORS: Mapping[str, tuple[Test, bool]] = {
    "stringequals": (_string, False),
    "stringnotequals": (_string, True),
    "stringequalsignorecase": (_string_ignore_case, False),
    "stringnotequalsignorecase": (_string_ignore_case, True),
    "stringlike": (_like, False),
    "stringnotlike": (_like, True),
    "arnequals": (_arn, False),
    "arnlike": (_arn, False),
    "arnnotequals": (_arn, True),
    "arnnotlike": (_arn, True),
    "bool": (_boolean, False),
    "binaryequals": (_binary, False),
    "ipaddress": (_in_network, False),
    "notipaddress": (_in_network, True),
    "dateequals": (_dates(lambda a, b: a == b), False),
    "datenotequals": (_dates(lambda a, b: a == b), True),
    "datelessthan": (_dates(lambda a, b: a < b), False),
    "datelessthanequals": (_dates(lambda a, b: a <= b), False),
    "dategreaterthan": (_dates(lambda a, b: a > b), False),
    "dategreaterthanequals": (_dates(lambda a, b: a >= b), False),
    "numericequals": (_numbers(lambda a, b: a == b), False),
    "numericnotequals": (_numbers(lambda a, b: a == b), True),
    "numericlessthan": (_numbers(lambda a, b: a < b), False),
    "numericlessthanequals": (_numbers(lambda a, b: a <= b), False),
    "numericgreaterthan": (_numbers(lambda a, b: a > b), False),
    "numericgreaterthanequals": (_numbers(lambda a, b: a >= b), False),
}


def condition_holds(condition: Condition, context: Context, *, variables: bool = True) -> bool:
    """Evaluate one operator and key against the request.

    Raises PolicyError for an operator that IAM does not have.
    """
    quantifier, operator, if_exists = _split(condition.operator)
    value = lookup(context, condition.key)
    if operator == "null":
        absent = value is None
        return any((wanted.lower() == "true") == absent for wanted in condition.values)
    if operator not in _OPERATORS:
        raise PolicyError(f"Condition: operator {condition.operator!r} is unknown")
    test, negated = _OPERATORS[operator]
    given = [] if value is None else [value] if isinstance(value, str) else list(value)
    if not given:
        return _absent(quantifier, negated, if_exists)
    scope = context if variables else None
    held = [any(test(want, one, scope) for want in condition.values) != negated for one in given]
    if quantifier == "forallvalues":
        return all(held)
    if quantifier == "foranyvalue":
        return any(held)
    # Without a set operator a multivalued key is undefined in AWS; the strict reading is taken.
    return all(held) if negated else any(held)


def _split(operator: str) -> tuple[str, str, bool]:
    """Split `ForAnyValue:StringLikeIfExists` into quantifier, operator and IfExists."""
    quantifier, separator, rest = operator.lower().rpartition(":")
    if separator and quantifier not in ("forallvalues", "foranyvalue"):
        raise PolicyError(f"Condition: set operator {quantifier!r} is unknown")
    return (quantifier, rest.removesuffix("ifexists"), rest.endswith("ifexists"))


def _absent(quantifier: str, negated: bool, if_exists: bool) -> bool:
    """Decide for a key that the request does not carry."""
    if quantifier == "forallvalues" or if_exists:
        return True
    if quantifier == "foranyvalue":
        return False
    return negated
