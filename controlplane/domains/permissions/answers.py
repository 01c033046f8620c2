"""Put a comparison into the words of the API: reasons, levels, conditions, people.

Called by this domain's router and by approvals. Apart from the service, which decides what differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args
from uuid import UUID

from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.identity.schemas import person_out
from controlplane.domains.permissions.schemas import (
    ComparedWithOut,
    ConditionOut,
    CountsOut,
    Effect,
    EvidenceOut,
    Level,
    LineOut,
    PartOut,
    PermissionsOut,
    PermissionSummaryOut,
    PolicyOut,
    SettingOut,
    StatementOut,
    UseOut,
)
from controlplane.domains.permissions.service import Comparison
from iam.action_evidence import evidence_of, levels_of
from iam.condition_words import in_words
from iam.policy_atoms import Names
from iam.policy_diff import Access, Change
from iam.role_permissions import PARTS
from iam.statement_reasons import REASONS

SEVERAL = "several services"


def summary(comparison: Comparison, cards: Mapping[UUID, PrincipalCard]) -> PermissionSummaryOut:
    """Return a comparison in figures."""
    return PermissionSummaryOut(
        digest=comparison.grant.policy_digest,
        compared_with=_compared_with(comparison, cards),
        counts=CountsOut(**comparison.counts()),
    )


def whole(comparison: Comparison, cards: Mapping[UUID, PrincipalCard]) -> PermissionsOut:
    """Return a comparison with every line."""
    return PermissionsOut(
        grant_id=comparison.grant.id,
        number=comparison.grant.number,
        digest=comparison.grant.policy_digest,
        compared_with=_compared_with(comparison, cards),
        counts=CountsOut(**comparison.counts()),
        parts=[
            PartOut(
                name=part,
                title=title,
                policies=[
                    PolicyOut(name=p.name, document=dict(p.source))
                    for p in comparison.permissions.policies[part]
                ],
            )
            for part, title in PARTS.items()
        ],
        lines=[_line(change) for change in sorted(comparison.changes, key=_order)],
        settings=[
            SettingOut(path=s.path, before=s.before, after=s.after) for s in comparison.settings
        ],
    )


def _compared_with(
    comparison: Comparison, cards: Mapping[UUID, PrincipalCard]
) -> ComparedWithOut | None:
    base = comparison.base
    if base is None or base.activated_at is None:
        return None
    decider = cards.get(base.decided_by) if base.decided_by else None
    return ComparedWithOut(
        grant_id=base.id,
        number=base.number,
        activated_at=base.activated_at,
        decided_by=person_out(decider) if decider else None,
        kept=comparison.is_base_kept,
    )


def _order(change: Change) -> tuple[int, str, tuple[str, ...], str]:
    actions = change.actions_after or change.actions_before
    return list(PARTS).index(change.part), _service(actions), actions, change.effect


def _line(change: Change) -> LineOut:
    actions = change.actions_after or change.actions_before
    plain = [action for action in actions if not action.startswith("all but ")]
    is_role = change.part == "permissions" and change.effect == "Allow"
    found = dict.fromkeys(one for action in plain for one in evidence_of(action) if is_role)
    known = {level for action in plain for level in levels_of(action)}
    effect: Effect = "Deny" if change.effect == "Deny" else "Allow"
    return LineOut(
        part=change.part,
        service=_service(actions),
        effect=effect,
        status=change.status,
        power=change.power,
        actions=list(actions),
        levels=[level for level in get_args(Level) if level in known],
        evidence=[EvidenceOut(kind=e.kind, action=e.action, text=e.text) for e in found],
        before=[] if change.status == "unchanged" else _uses(change.part, change.before),
        after=_uses(change.part, change.after),
    )


def _service(actions: Iterable[str]) -> str:
    """Return the service of actions, if it is one."""
    services = {action.partition(":")[0] for action in actions}
    only = services.pop() if len(services) == 1 else ""
    return only if only.replace("-", "").isalnum() else SEVERAL


def _uses(part: str, accesses: Iterable[Access]) -> list[UseOut]:
    return [
        UseOut(
            actions=list(access.actions),
            principals=_texts(access.principals) if part.endswith("trust") else [],
            resources=[] if part.endswith("trust") else _texts(access.resources),
            conditions=[
                ConditionOut(
                    operator=test.operator, key=test.key, values=list(test.values),
                    words=in_words(test),
                )
                for test in access.tests
            ],
            statements=[
                StatementOut(name=name, reason=REASONS.get((part, name)))
                for name in access.statements
            ],
        )
        for access in accesses
    ]  # fmt: skip


def _texts(names: Iterable[Names]) -> list[str]:
    return [
        f"all but {', '.join(one.patterns)}" if one.all_but else one.patterns[0] for one in names
    ]
