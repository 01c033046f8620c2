"""Wildcards, policy variables and ARNs, as IAM matches them.

Used by the evaluator for actions, resources and conditions; apart from it because substitution
and wildcard matching must happen together: a wildcard inside a substituted value is a letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

Context = Mapping[str, str | Sequence[str]]

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_LITERALS = {"*": "*", "?": "?", "$": "$"}


class MissingVariableError(LookupError):
    """A policy variable names a key that the request does not carry."""


def lookup(context: Context, key: str) -> str | Sequence[str] | None:
    """Find a context key; names are case-insensitive, the tag's own name after the slash too."""
    wanted = key.lower()
    for name, value in context.items():
        if name.lower() == wanted:
            return value
    return None


def regex_for(pattern: str, context: Context | None, *, wildcards: bool) -> str:
    """Turn a pattern into a regular expression with policy variables substituted.

    A variable without value and without default raises MissingVariableError: such a statement never
    matches. `context=None` leaves `${…}` as letters (policy version 2008-10-17).
    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """
    if context is None:
        return _escape(pattern, wildcards)
    parts: list[str] = []
    end = 0
    for match in _VARIABLE.finditer(pattern):
        parts.append(_escape(pattern[end : match.start()], wildcards))
        parts.append(re.escape(_value_of(match.group(1), context)))
        end = match.end()
    parts.append(_escape(pattern[end:], wildcards))
    return "".join(parts)


def _value_of(expression: str, context: Context) -> str:
    """Resolve the inside of ${…}: a literal, a key, or a key with a default in quotes."""
    if expression in _LITERALS:
        return _LITERALS[expression]
    key, separator, default = expression.partition(",")
    value = lookup(context, key.strip())
    if isinstance(value, str):
        return value
    if separator and value is None:
        return default.strip().strip("'")
    raise MissingVariableError(expression)


def _escape(text: str, wildcards: bool) -> str:
    """Escape text for a regular expression, keeping * and ? as wildcards where asked."""
    if not wildcards:
        return re.escape(text)
    return "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in text)


@lru_cache(maxsize=8192)
def _compiled(expression: str, ignore_case: bool) -> re.Pattern[str]:
    """Compile once; policies are matched thousands of times."""
    return re.compile(expression, re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def matches(
    pattern: str,
    value: str,
    context: Context | None = None,
    *,
    wildcards: bool = True,
    ignore_case: bool = False,
) -> bool:
    """Tell whether a value matches a pattern; a missing policy variable matches nothing."""
    try:
        expression = regex_for(pattern, context, wildcards=wildcards)
    except MissingVariableError:
        return False
    return _compiled(expression, ignore_case).fullmatch(value) is not None


def action_matches(pattern: str, action: str) -> bool:
    """Match an action; service prefix and name are case-insensitive."""
    return matches(pattern, action, ignore_case=True)


def arn_matches(pattern: str, arn: str, context: Context | None = None) -> bool:
    """Match an ARN part by part: a wildcard of ArnLike does not cross one of its six colons.

    Source: reference_policies_elements_condition_operators.html#Conditions_ARN
    """
    wanted, given = _arn_parts(pattern), _arn_parts(arn)
    if len(wanted) != 6 or len(given) != 6:
        return False
    pairs = zip(wanted, given, strict=True)
    return all(matches(one, other, context) for one, other in pairs)


def _arn_parts(arn: str) -> list[str]:
    """Split an ARN at its colons, but not at those inside a policy variable."""
    kept = _VARIABLE.sub(lambda m: m.group(0).replace(":", "\0"), arn)
    return [part.replace("\0", ":") for part in kept.split(":", 5)]
