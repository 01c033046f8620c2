"""Take a policy apart into its smallest statements, so that two writings of one meaning are equal.

Used by `policy_diff`. An atom has one effect, principal, action and resource, and tests with one
value where several values only mean "or". Order, splitting, merging, spelling of actions and
repetition are gone; an atom that another one of the same policy covers is gone too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from iam.containment import NEGATED, covers, is_disjoint, value_covers
from iam.documents import Condition, Policy, Statement

_ALIKE = {"arnequals": "arnlike", "arnnotequals": "arnnotlike"}
"""AWS: ArnEquals and ArnLike behave identically."""


@dataclass(frozen=True)
class Names:
    """One pattern, or with `all_but` everything that none of the patterns matches."""

    patterns: tuple[str, ...]
    all_but: bool = False

    def covers(self, other: Names) -> bool:
        """Tell whether it is proven to take in all of another one."""
        if self.all_but and other.all_but:
            return all(any(covers(w, n) for w in other.patterns) for n in self.patterns)
        if self.all_but:
            return all(is_disjoint(n, w) for n in other.patterns for w in self.patterns)
        if other.all_but:
            return "*" in self.patterns
        return all(any(covers(w, n) for w in self.patterns) for n in other.patterns)


EVERYTHING = Names(("*",))


@dataclass(frozen=True)
class ConditionTest:
    """One condition: operator and key in lower case, values in order."""

    operator: str
    key: str
    values: tuple[str, ...]

    @property
    def plain(self) -> str:
        """The operator without quantifier and IfExists."""
        return self.operator.rpartition(":")[2].removesuffix("ifexists")

    def follows_from(self, other: ConditionTest) -> bool:
        """Tell whether it holds wherever another one holds."""
        if self.key != other.key or self.operator.removesuffix("ifexists") != (
            other.operator.removesuffix("ifexists")
        ):
            return False
        # With IfExists a request without the key passes, so the plain test is the stricter one.
        if other.operator.endswith("ifexists") and not self.operator.endswith("ifexists"):
            return False
        wide, narrow = self.values, other.values
        if self.plain in NEGATED:
            wide, narrow = narrow, wide
        return all(any(value_covers(self.plain, w, n) for w in wide) for n in narrow)


@dataclass(frozen=True)
class Atom:
    """The smallest statement."""

    effect: str
    principal: Names
    action: Names
    resource: Names
    tests: frozenset[ConditionTest]

    def covers(self, other: Atom) -> bool:
        """Tell whether it is proven to match every request that another one matches."""
        return (
            self.effect == other.effect
            and self.action.covers(other.action)
            and self.resource.covers(other.resource)
            and self.principal.covers(other.principal)
            and all(any(t.follows_from(o) for o in other.tests) for t in self.tests)
        )


@dataclass(frozen=True)
class NormalForm:
    """The atoms of a document, each with the statements it is written in, and actions' spelling."""

    atoms: Mapping[Atom, frozenset[str]]
    spelling: Mapping[str, str]


EMPTY = NormalForm({}, {})


def normalize(policies: Iterable[Policy]) -> NormalForm:
    """Take documents that hold together (the policies of one role) apart."""
    found: dict[Atom, set[str]] = {}
    spelling: dict[str, str] = {}
    for policy in policies:
        for statement in policy.statements:
            for name in (*statement.actions, *statement.not_actions):
                # The same spelling whatever the order: the least of those that are used.
                spelling[name.lower()] = min(name, spelling.get(name.lower(), name))
            for atom in _atoms(statement, policy.variables):
                found.setdefault(atom, set()).add(statement.sid)
    kept = _without_covered(list(found))
    return NormalForm({atom: frozenset(found[atom]) for atom in kept}, spelling)


def _atoms(statement: Statement, variables: bool) -> Iterator[Atom]:
    """Give the atoms of a statement."""
    actions = _names(
        [a.lower() for a in statement.actions], [a.lower() for a in statement.not_actions]
    )
    resources = _names(
        [_text(r, variables) for r in statement.resources],
        [_text(r, variables) for r in statement.not_resources],
    )
    principals = _names(_principals(statement.principals), _principals(statement.not_principals))
    tests = list(_tests(statement.conditions, variables))
    for principal, action, resource, chosen in product(principals, actions, resources, tests):
        yield Atom(statement.effect, principal, action, resource, chosen)


def _names(given: list[str], not_given: list[str]) -> list[Names]:
    """Give one name per pattern; an absent element is everything."""
    if given:
        return [Names((pattern,)) for pattern in sorted(set(given))]
    if not_given:
        return [Names(tuple(sorted(set(not_given))), all_but=True)]
    return [EVERYTHING]


def _principals(named: Mapping[str, tuple[str, ...]] | None) -> list[str]:
    """Write principals as `Kind:name`."""
    if named is None:
        return []
    return [
        "*" if kind == "*" else f"{kind}:{name}" for kind, names in named.items() for name in names
    ]


def _text(pattern: str, variables: bool) -> str:
    """Keep the letters `${` of a document without variables apart from a variable."""
    return pattern if variables else pattern.replace("${", "${$}{")


def _tests(
    conditions: tuple[Condition, ...], variables: bool
) -> Iterator[frozenset[ConditionTest]]:
    """Give the alternatives of a Condition element: all tests of one alternative must hold."""
    choices: list[list[tuple[ConditionTest, ...]]] = []
    for one in conditions:
        quantifier, colon, name = one.operator.lower().rpartition(":")
        bare = name.removesuffix("ifexists")
        operator = quantifier + colon + _ALIKE.get(bare, bare) + name[len(bare) :]
        values = sorted({_value(bare, _text(v, variables)) for v in one.values})
        singles = tuple(ConditionTest(operator, one.key.lower(), (value,)) for value in values)
        whole = (ConditionTest(operator, one.key.lower(), tuple(values)),)
        is_negated = _ALIKE.get(bare, bare) in NEGATED
        if is_negated and quantifier != "foranyvalue":
            choices.append([singles])  # none of them: each test must hold
        elif not is_negated and quantifier != "forallvalues" and singles:
            choices.append([(single,) for single in singles])  # one of them: alternatives
        else:
            choices.append([whole])
    for picked in product(*choices):
        yield frozenset(test for tests in picked for test in tests)


def _value(operator: str, value: str) -> str:
    """Write a value that is compared without case in lower case."""
    return value.lower() if operator in ("bool", "null") else value


def _without_covered(atoms: list[Atom]) -> list[Atom]:
    """Leave out what another atom covers; of two that cover each other the first in order stays."""
    ordered = sorted(atoms, key=_order)
    literal: dict[tuple[str, str], list[Atom]] = {}
    wild: list[Atom] = []
    for atom in ordered:
        if atom.action.all_but or _is_wild(atom.action.patterns[0]):
            wild.append(atom)
        else:
            literal.setdefault((atom.effect, atom.action.patterns[0]), []).append(atom)
    kept = dict.fromkeys(ordered)
    for atom in reversed(ordered):
        # Only what is still kept may stand for it, so that the whole never loses anything.
        if any(
            other is not atom and other in kept and other.covers(atom)
            for other in _candidates(atom, literal, wild)
        ):
            del kept[atom]
    return list(kept)


def _candidates(
    atom: Atom, literal: Mapping[tuple[str, str], list[Atom]], wild: list[Atom]
) -> list[Atom]:
    """Give the atoms whose action may cover an atom's."""
    if atom.action.all_but or _is_wild(atom.action.patterns[0]):
        return wild
    return [*literal[atom.effect, atom.action.patterns[0]], *wild]


def _is_wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _order(atom: Atom) -> str:
    tests = sorted((t.key, t.operator, t.values) for t in atom.tests)
    return repr((atom.effect, atom.action, atom.resource, atom.principal, tests))
