"""Tell whether one pattern, or one condition test, is proven to cover another.

Used by `policy_diff`, which may call a permission narrower only where this module proves it. Apart
from `patterns`, which matches a pattern against a value: here both sides are patterns. Every answer
True is a proof; False only says that there is none.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache

from iam.conditions import parse_instant

_TOKEN = re.compile(r"\$\{[^}]*\}|.", re.DOTALL)
NEGATED = frozenset(
    {
        "stringnotequals", "stringnotequalsignorecase", "stringnotlike", "arnnotlike",
        "notipaddress", "datenotequals", "numericnotequals",
    }
)  # fmt: skip
"""Operators that are true when none of their values matches."""
_WILD = frozenset({"stringlike", "stringnotlike"})
_ARNS = frozenset({"arnlike", "arnnotlike"})
_NETWORKS = frozenset({"ipaddress", "notipaddress"})


def _tokens(pattern: str) -> list[str]:
    """Split into letters, wildcards and whole policy variables."""
    return _TOKEN.findall(pattern)


@lru_cache(maxsize=65536)
def covers(wide: str, narrow: str) -> bool:
    """Tell whether all that matches `narrow` also matches `wide`, whatever the variables hold.

    A variable is one opaque sign: it is covered by itself and by a star, and by nothing else.
    """
    if wide in (narrow, "*"):
        return True
    mine, theirs = _tokens(wide), _tokens(narrow)
    if "*" not in mine and ("?" not in mine or len(mine) != len(theirs)):
        return False
    # Reachable positions in `wide` after each token of `narrow`; a star may take any token.
    reached = _skip_stars({0}, mine)
    for token in theirs:
        after = {i for i in reached if i < len(mine) and mine[i] == "*"}
        after |= {i + 1 for i in reached if i < len(mine) and _takes(mine[i], token)}
        reached = _skip_stars(after, mine)
        if not reached:
            return False
    return len(mine) in reached


def _takes(wide: str, narrow: str) -> bool:
    """Tell whether one sign of the wide pattern stands for one token of the narrow one."""
    if wide == "*":
        return False
    if wide == "?":
        return narrow != "*" and len(narrow) == 1
    return wide == narrow


def _skip_stars(positions: set[int], pattern: list[str]) -> set[int]:
    """Add the positions behind stars, which may also stand for nothing."""
    found = set(positions)
    for start in positions:
        at = start
        while at < len(pattern) and pattern[at] == "*":
            at += 1
            found.add(at)
    return found


@lru_cache(maxsize=65536)
def is_disjoint(one: str, other: str) -> bool:
    """Tell whether no text can match both; a variable may hold anything."""
    first = ["*" if len(t) > 1 else t for t in _tokens(one)]
    second = ["*" if len(t) > 1 else t for t in _tokens(other)]
    seen: set[tuple[int, int]] = set()
    todo = [(0, 0)]
    while todo:
        at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        i, j = at
        if i == len(first) and j == len(second):
            return False
        todo += _steps(first, second, i, j)
    return True


def _steps(first: list[str], second: list[str], i: int, j: int) -> Iterable[tuple[int, int]]:
    """Give the next positions from which a common text may still be read."""
    one = first[i] if i < len(first) else None
    other = second[j] if j < len(second) else None
    if one == "*":
        yield i + 1, j
        if other is not None:
            yield i, j + 1
    if other == "*":
        yield i, j + 1
        if one is not None:
            yield i + 1, j
    if one is not None and other is not None and (one == other or "?" in (one, other)):
        yield i + 1, j + 1


def arn_covers(wide: str, narrow: str) -> bool:
    """Tell it for ArnLike, whose wildcards do not cross the first five colons."""
    mine, theirs = _arn_parts(wide), _arn_parts(narrow)
    if len(mine) != 6 or len(theirs) != 6:
        return wide == narrow
    return all(covers(one, other) for one, other in zip(mine, theirs, strict=True))


def _arn_parts(arn: str) -> list[str]:
    """Split at the colons of the ARN, not at those inside a variable."""
    parts: list[str] = []
    current = ""
    for sign in _tokens(arn):
        if sign == ":" and len(parts) < 5:
            parts.append(current)
            current = ""
        else:
            current += sign
    return [*parts, current]


def value_covers(operator: str, wide: str, narrow: str) -> bool:
    """Tell whether a condition's value lets through all that another one does.

    `operator` is the plain name in lower case, without quantifier and IfExists.
    """
    if wide == narrow:
        return True
    if operator in _WILD:
        return covers(wide, narrow)
    if operator in _ARNS:
        return arn_covers(wide, narrow)
    if operator in _NETWORKS:
        return _in_network(wide, narrow)
    if operator.startswith(("date", "numeric")):
        return _ordered(operator, wide, narrow)
    return False


def _in_network(wide: str, narrow: str) -> bool:
    """Tell whether a network holds another one."""
    try:
        outer = ipaddress.ip_network(wide, strict=False)
        inner = ipaddress.ip_network(narrow, strict=False)
    except ValueError:
        return False
    if isinstance(outer, ipaddress.IPv4Network) and isinstance(inner, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(outer, ipaddress.IPv6Network) and isinstance(inner, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def _ordered(operator: str, wide: str, narrow: str) -> bool:
    """Compare two limits of the same operator: a later end, or an earlier start, is wider."""
    read: Callable[[str], float | datetime] = (
        parse_instant if operator.startswith("date") else float
    )
    try:
        outer, inner = read(wide), read(narrow)
    except ValueError:
        return False
    if "lessthan" in operator:
        return bool(outer >= inner)  # type: ignore[operator]  # both of one type
    if "greaterthan" in operator:
        return bool(outer <= inner)  # type: ignore[operator]  # both of one type
    return False
