"""Bring the groups of a person to what their identity provider claims.

Called at sign-in. Only groups that the organization knows count, and only rows whose source is the
claim are touched: the file and the push of the provider each keep their own.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.ids import new_id
from controlplane.tables.identity import GroupMember, MembershipSource, PrincipalGroup


def set_claimed_groups(
    session: Session,
    ctx: OpContext,
    organization_id: UUID,
    principal_id: UUID,
    claimed: Collection[str],
) -> list[str]:
    """Make the claimed memberships what the token says; return the names that count, sorted."""
    groups = {g.id: g for g in session.scalars(select(PrincipalGroup))}
    wanted = {g.id for g in groups.values() if g.name in claimed}
    statement = select(GroupMember).where(
        GroupMember.principal_id == principal_id,
        GroupMember.source == MembershipSource.CLAIM,
        GroupMember.valid_until.is_(None),
    )
    # Two sign-ins of one person at once: the second waits, then sees what the first wrote.
    current = {m.group_id: m for m in session.scalars(statement.with_for_update())}
    for group_id in sorted(wanted - current.keys(), key=str):
        session.add(
            GroupMember(
                organization_id=organization_id,
                id=new_id(),
                group_id=group_id,
                principal_id=principal_id,
                source=MembershipSource.CLAIM,
            )
        )
        _record(session, ctx, groups[group_id], added=principal_id)
    for group_id in sorted(current.keys() - wanted, key=str):
        current[group_id].valid_until = now()
        _record(session, ctx, groups[group_id], removed=principal_id)
    session.flush()
    return sorted(groups[i].name for i in wanted)


def _record(
    session: Session,
    ctx: OpContext,
    group: PrincipalGroup,
    *,
    added: UUID | None = None,
    removed: UUID | None = None,
) -> None:
    audit.append(
        session,
        ctx,
        "group.changed",
        target=f"group/{group.id}",
        organization_id=group.organization_id,
        detail={
            "group": group.name,
            "source": MembershipSource.CLAIM,
            "added": [str(added)] if added else [],
            "removed": [str(removed)] if removed else [],
        },
    )
