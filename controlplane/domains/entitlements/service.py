"""Bring entitlements to what is wanted; make and revoke gateway keys.

A key is shown once and kept as a hash; the bundle carries the hash into the boundary. A change of
keys asks for a new bundle by name (`bundle.publish`), since signing is the worker's.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from controlplane.core import audit, outbox
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
)
from controlplane.core.ids import new_id
from controlplane.domains.entitlements import repository
from controlplane.domains.identity import repository as identity
from controlplane.domains.identity.reach import reach_of
from controlplane.domains.identity.tokens import new_token, token_hash
from controlplane.domains.organizations import repository as organizations
from controlplane.tables.catalog import Entitlement, GatewayKey
from controlplane.tables.identity import PrincipalGroup, RoleName

KEY_LIFETIME = timedelta(days=90)
PUBLISH = "bundle.publish"
"""Task that signs and publishes a boundary's desired state again."""
_MANAGERS = frozenset({RoleName.PLATFORM_ADMIN, RoleName.BOUNDARY_ADMIN})
_REVOKERS = _MANAGERS | {RoleName.APPROVER}


def ensure_entitlements(
    session: Session,
    ctx: OpContext,
    *,
    organization_id: UUID,
    boundary_id: UUID,
    wanted: Collection[tuple[UUID, UUID]],
    reason: str,
) -> None:
    """Bring (group, model version) pairs to what is wanted; history is kept."""
    current = {
        (e.group_id, e.model_version_id): e for e in repository.list_current(session, boundary_id)
    }
    at = now()
    for group_id, version_id in sorted(set(wanted) - current.keys()):
        row = Entitlement(
            organization_id=organization_id,
            boundary_id=boundary_id,
            id=new_id(),
            group_id=group_id,
            model_version_id=version_id,
            valid_from=at,
            granted_by=ctx.actor.principal_id,
            reason=reason,
        )
        session.add(row)
        session.flush()
        _record(session, ctx, "entitlement.granted", row)
    for pair, row in current.items():
        if pair not in wanted:
            _end(session, ctx, row, reason)
            _record(session, ctx, "entitlement.revoked", row)


def _end(session: Session, ctx: OpContext, row: Entitlement, reason: str) -> None:
    at = now()
    ended: dict[str, Any] = {c.key: getattr(row, c.key) for c in Entitlement.__table__.columns}
    ended |= {"id": new_id(), "valid_until": at, "recorded_at": at, "reason": reason}
    ended["granted_by"] = ctx.actor.principal_id
    session.execute(
        update(Entitlement)
        .where(Entitlement.boundary_id == row.boundary_id, Entitlement.id == row.id)
        .values(superseded_at=at)
    )
    session.add(Entitlement(**ended))
    session.flush()


def _record(session: Session, ctx: OpContext, code: str, row: Entitlement) -> None:
    audit.append(
        session,
        ctx,
        code,
        target=f"group/{row.group_id}",
        boundary_id=row.boundary_id,
        organization_id=row.organization_id,
        detail={"model_version_id": str(row.model_version_id)},
    )


def create_key(
    session: Session,
    ctx: OpContext,
    *,
    organization_id: UUID,
    boundary_id: UUID,
    group: str,
    owner: str,
) -> tuple[GatewayKey, str]:
    """Make a gateway key for a member of an entitled group; return the row and the key itself.

    Raises: InvalidRequestError naming the field; ForbiddenError when an engineer asks for another
    person's key.
    """
    group_row = _entitled_group(session, boundary_id, group)
    owner_id = _owner(session, ctx, group_row, owner)
    ends_at = _end_of_key(session, owner_id, organization_id, boundary_id)
    key = new_token("rfk")
    row = GatewayKey(
        organization_id=organization_id,
        boundary_id=boundary_id,
        id=new_id(),
        group_id=group_row.id,
        owner_id=owner_id,
        key_hash=token_hash(key),
        created_at=now(),
        expires_at=ends_at,
    )
    session.add(row)
    session.flush()
    audit.append(
        session,
        ctx,
        "gateway-key.created",
        target=f"gateway-key/{row.id}",
        boundary_id=boundary_id,
        detail={"group": group, "owner": str(owner_id)},
    )
    outbox.enqueue(session, PUBLISH, organization_id=organization_id, boundary_id=boundary_id)
    return row, key


def _entitled_group(session: Session, boundary_id: UUID, group: str) -> PrincipalGroup:
    found = organizations.find_group(session, group)
    entitled = {e.group_id for e in repository.list_current(session, boundary_id)}
    if found is None or found.id not in entitled:
        known = repository.group_names(session)
        names = ", ".join(sorted(known[i] for i in entitled)) or "none"
        raise InvalidRequestError(
            f"group {group!r} may use no model of this boundary",
            field="group",
            fix=f"entitled groups are: {names}",
        )
    return found


def _owner(session: Session, ctx: OpContext, group: PrincipalGroup, subject: str) -> UUID:
    members = organizations.list_current_members(session, group.id)
    owners = [i for i in identity.list_ids_by_subject(session, subject) if i in members]
    if len(owners) != 1:
        raise InvalidRequestError(
            f"{subject!r} is not a member of group {group.name!r}",
            field="owner",
            fix="add the person to the group in the organization's file and apply it",
        )
    if not (ctx.roles & _MANAGERS) and owners[0] != ctx.actor.principal_id:
        raise ForbiddenError(
            "you can make a gateway key for yourself only", fix="set owner to your own subject"
        )
    return owners[0]


def _end_of_key(
    session: Session, owner_id: UUID, organization_id: UUID, boundary_id: UUID
) -> datetime:
    """Return when a new key ends: a guest's at the latest with the waiver it rests on.

    The gateway knows no waivers; it reads the end of the key. Raises: InvalidRequestError for a
    guest without a waiver.
    """
    latest = now() + KEY_LIFETIME
    held = [
        r
        for r in identity.list_roles(session, owner_id)
        if r.organization_id == organization_id and r.boundary_id in (None, boundary_id)
    ]
    if any(r.is_pending_guest for r in held) and all(r.is_pending_guest for r in held):
        raise InvalidRequestError(
            "the owner is a guest and no waiver is in force",
            field="owner",
            fix="request a waiver for the guest, which two people approve",
        )
    ends = [r.waiver_ends_at or latest for r in held if not r.is_pending_guest]
    return min(latest, max(ends, default=latest))


def own_groups(session: Session, ctx: OpContext, boundary_id: UUID) -> frozenset[UUID] | None:
    """Return the groups to which an engineer's view is cut; None for those who see all."""
    if reach_of(session, ctx).may("GET", "/v1/boundaries/{boundary}/connection", boundary_id):
        return None
    return organizations.list_current_groups_of(session, ctx.actor.principal_id)


def list_entitlements(session: Session, ctx: OpContext, boundary_id: UUID) -> list[Entitlement]:
    """Return the entitlements that hold now; to an engineer only those of the own groups."""
    mine = own_groups(session, ctx, boundary_id)
    found = repository.list_current(session, boundary_id)
    return [e for e in found if mine is None or e.group_id in mine]


def list_keys(session: Session, ctx: OpContext, boundary_id: UUID) -> list[GatewayKey]:
    """Return the gateway keys of a boundary; to an engineer only the own ones."""
    found = repository.list_keys(session, boundary_id, only_valid=False)
    if own_groups(session, ctx, boundary_id) is None:
        return found
    return [k for k in found if k.owner_id == ctx.actor.principal_id]


def revoke_key(session: Session, ctx: OpContext, boundary_id: UUID, key_id: UUID) -> GatewayKey:
    """Revoke a key; the next bundle no longer has it.

    Raises: ConflictError when it ended; NotFoundError for an engineer and another person's key.
    """
    row = repository.get_key(session, boundary_id, key_id)
    if not (ctx.roles & _REVOKERS) and row.owner_id != ctx.actor.principal_id:
        raise NotFoundError(f"there is no gateway key {key_id} of yours in this boundary")
    _end_key(session, ctx, row)
    return row


def _end_key(session: Session, ctx: OpContext, row: GatewayKey) -> None:
    if row.revoked_at is not None:
        raise ConflictError("this key is revoked already")
    row.revoked_at = now()
    session.flush()
    audit.append(
        session,
        ctx,
        "gateway-key.revoked",
        target=f"gateway-key/{row.id}",
        boundary_id=row.boundary_id,
    )
    outbox.enqueue(
        session, PUBLISH, organization_id=row.organization_id, boundary_id=row.boundary_id
    )


def revoke_keys_of(
    session: Session, ctx: OpContext, owner_id: UUID, *, within: Collection[UUID] | None = None
) -> int:
    """Revoke every key of a person in the boundaries in scope; return how many there were.

    `within` names the boundaries when it is not about all of them.
    """
    keys = [
        k
        for k in repository.list_valid_keys_of(session, owner_id)
        if within is None or k.boundary_id in within
    ]
    for key in keys:
        _end_key(session, ctx, key)
    return len(keys)
