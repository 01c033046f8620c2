"""Compare two sets of permissions by meaning, in lines that a person reads.

Called by the control plane for approvals. A line is one action (or actions that cover each other)
of one part of the role, with all it could be used on before and after. It is called widened or
narrowed only where `containment` proves it, else changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from iam.containment import NEGATED
from iam.policy_atoms import EMPTY, Atom, ConditionTest, Names, NormalForm

Status = Literal["added", "removed", "widened", "narrowed", "changed", "unchanged"]
Power = Literal["more", "less", "unclear", "same"]
STATUSES: tuple[Status, ...] = (
    "added", "removed", "widened", "narrowed", "changed", "unchanged",
)  # fmt: skip
_Key = tuple[str, Names]


@dataclass(frozen=True)
class Access:
    """What an action may be used on, by whom and under which tests, and where that is written."""

    actions: tuple[str, ...]
    principals: tuple[Names, ...]
    resources: tuple[Names, ...]
    tests: tuple[ConditionTest, ...]
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """One line of a diff."""

    part: str
    effect: str
    status: Status
    power: Power
    """Whether the role can do more than before: a deny that goes away gives power."""
    actions_before: tuple[str, ...]
    actions_after: tuple[str, ...]
    before: tuple[Access, ...]
    after: tuple[Access, ...]


def compare(
    before: Mapping[str, NormalForm], after: Mapping[str, NormalForm]
) -> tuple[Change, ...]:
    """Compare part by part; unchanged lines are in the answer too, in order of action."""
    found: list[Change] = []
    for part in sorted({*before, *after}):
        found += _compare_part(part, before.get(part, EMPTY), after.get(part, EMPTY))
    return tuple(found)


def _compare_part(part: str, before: NormalForm, after: NormalForm) -> list[Change]:
    lines = []
    for keys in _components(before, after):
        old = [a for a in before.atoms if (a.effect, a.action) in keys]
        new = [a for a in after.atoms if (a.effect, a.action) in keys]
        status = _status(old, new)
        effect = (old or new)[0].effect
        lines.append(
            Change(
                part=part,
                effect=effect,
                status=status,
                power=_power(effect, status),
                actions_before=_spelled({a.action for a in old}, before),
                actions_after=_spelled({a.action for a in new}, after),
                before=_accesses(old, before),
                after=_accesses(new, after),
            )
        )
    return sorted(lines, key=lambda c: (c.actions_after or c.actions_before, c.effect))


def _components(before: NormalForm, after: NormalForm) -> list[set[_Key]]:
    """Group actions that must be read together: the same one, or one that covers another."""
    groups: dict[_Key, set[_Key]] = {}
    for atom in (*before.atoms, *after.atoms):
        groups.setdefault((atom.effect, atom.action), {(atom.effect, atom.action)})
    gone = [a for a in before.atoms if a not in after.atoms]
    come = [a for a in after.atoms if a not in before.atoms]
    for old, new in product(gone, come):
        if old.action != new.action and (old.covers(new) or new.covers(old)):
            one, other = groups[old.effect, old.action], groups[new.effect, new.action]
            if one is not other:
                one |= other
                for key in other:
                    groups[key] = one
    return list({id(group): group for group in groups.values()}.values())


def _status(old: list[Atom], new: list[Atom]) -> Status:
    """Name what became of a group; only a proof makes it wider or narrower."""
    if not old:
        return "added"
    if not new:
        return "removed"
    grows = all(any(n.covers(o) for n in new) for o in old)
    shrinks = all(any(o.covers(n) for o in old) for n in new)
    if grows and shrinks:
        return "unchanged"
    return "widened" if grows else "narrowed" if shrinks else "changed"


def _power(effect: str, status: Status) -> Power:
    if status == "unchanged":
        return "same"
    if status == "changed":
        return "unclear"
    return "more" if (status in ("added", "widened")) == (effect == "Allow") else "less"


def _spelled(actions: Iterable[Names], form: NormalForm) -> tuple[str, ...]:
    """Write actions as their document does."""
    found = {
        ("all but " if action.all_but else "")
        + ", ".join(form.spelling.get(p, p) for p in action.patterns)
        for action in actions
    }
    return tuple(sorted(found, key=str.lower))


_Units = tuple[tuple[tuple[str, str], tuple[str, ...]], ...]


def _accesses(atoms: list[Atom], form: NormalForm) -> tuple[Access, ...]:
    """Put atoms together again as shortly as they can be read, without changing their meaning."""
    shown: dict[tuple[tuple[Names, ...], tuple[Names, ...], _Units], tuple[set[Names], set[str]]]
    shown = {}
    for action in {atom.action for atom in atoms}:
        for principals, resources, tests, sids in _of_action(
            [atom for atom in atoms if atom.action == action], form
        ):
            actions, statements = shown.setdefault((principals, resources, tests), (set(), set()))
            actions.add(action)
            statements |= sids
    accesses = [
        Access(
            actions=_spelled(actions, form),
            principals=principals,
            resources=resources,
            tests=tuple(ConditionTest(op, key, values) for (op, key), values in tests),
            statements=tuple(sorted(statements)),
        )
        for (principals, resources, tests), (actions, statements) in shown.items()
    ]
    return tuple(sorted(accesses, key=repr))


def _of_action(
    atoms: list[Atom], form: NormalForm
) -> Iterable[tuple[tuple[Names, ...], tuple[Names, ...], _Units, set[str]]]:
    """Give principals, resources, tests and statements of one action."""
    resources: dict[tuple[Names, _Units], set[Names]] = {}
    sids: dict[_Units, set[str]] = {}
    for atom in atoms:
        units = _units(atom.tests)
        resources.setdefault((atom.principal, units), set()).add(atom.resource)
        sids.setdefault(units, set()).update(form.atoms[atom])
    principals: dict[tuple[_Units, tuple[Names, ...]], set[Names]] = {}
    for (principal, units), found in resources.items():
        principals.setdefault((units, _sorted(found)), set()).add(principal)
    alternatives: dict[tuple[tuple[Names, ...], tuple[Names, ...]], list[_Units]] = {}
    for (units, used_on), who in principals.items():
        alternatives.setdefault((_sorted(who), used_on), []).append(units)
    for (by, used_on), listed in alternatives.items():
        for tests, taken in _join(listed):
            yield by, used_on, tests, {s for units in taken for s in sids[units]}


def _sorted(names: Iterable[Names]) -> tuple[Names, ...]:
    return tuple(sorted(names, key=lambda n: (n.all_but, n.patterns)))


def _units(tests: frozenset[ConditionTest]) -> _Units:
    """Write tests as one entry per operator and key where that means the same."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for test in sorted(tests, key=repr):
        name = (test.operator, test.key)
        if name in found and test.plain not in NEGATED:
            return tuple(((t.operator, t.key), t.values) for t in sorted(tests, key=repr))
        found[name] = tuple(sorted({*found.get(name, ()), *test.values}))
    return tuple(sorted(found.items()))


def _join(listed: list[_Units]) -> Iterable[tuple[_Units, list[_Units]]]:
    """Join alternatives that differ in values only, if they are all combinations of them."""
    shapes: dict[tuple[tuple[str, str], ...], list[_Units]] = {}
    for units in listed:
        shapes.setdefault(tuple(name for name, _ in units), []).append(units)
    for shape, members in shapes.items():
        choices = [sorted({units[i][1] for units in members}) for i in range(len(shape))]
        may_join = len(set(shape)) == len(shape) and all(
            len(choice) == 1 or not _is_whole(name)
            for name, choice in zip(shape, choices, strict=True)
        )
        combined = list(product(*choices))
        if len(members) > 1 and may_join and len(combined) == len(members):
            values = [tuple(sorted({v for vs in choice for v in vs})) for choice in choices]
            yield tuple(zip(shape, values, strict=True)), members
        else:
            for units in members:
                yield units, [units]


def _is_whole(name: tuple[str, str]) -> bool:
    """Tell whether several values of a test do not mean one of them."""
    test = ConditionTest(name[0], name[1], ())
    return test.plain in NEGATED or name[0].startswith("forallvalues")
