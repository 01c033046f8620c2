"""Make, list and disable service identities: programs with roles and tokens of their own.

A platform-admin of the organization makes any; a boundary's administrator makes those that serve
the own boundary only, with no more than the own role. No service ever decides on anything: four
eyes are those of people (`domains/approvals`).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, InvalidRequestError, NotFoundError
from controlplane.core.ids import new_id
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.directory import repository
from controlplane.domains.directory.service import organization_of, sees_everything
from controlplane.domains.identity import api_tokens
from controlplane.domains.identity.api_tokens import TokenScope
from controlplane.domains.identity.token_repository import TokenCard
from controlplane.domains.organizations import repository as organizations
from controlplane.domains.organizations import service as organization_service
from controlplane.domains.organizations.service import WantedRole
from controlplane.tables.identity import RoleName
from controlplane.tables.services import ServiceIdentity

ISSUER = "ringfence://services/{organization_id}"
"""Ours and no identity provider's: its form is none that an organization can claim."""
NEVER = frozenset({RoleName.APPROVER})
"""Roles that are decisions, so no service has them."""
OF_BOUNDARY_ADMINS = frozenset({RoleName.BOUNDARY_ADMIN, RoleName.ENGINEER})


def create(
    session: Session,
    ctx: OpContext,
    *,
    name: str,
    purpose: str,
    roles: Collection[RoleName],
    boundary: str | None,
) -> ServiceIdentity:
    """Make a service identity. Raises: InvalidRequestError, ConflictError, before any write."""
    organization_id = organization_of(ctx)
    everything = sees_everything(session, ctx, organization_id)
    boundary_id = get_boundary(session, boundary).id if boundary is not None else None
    _check(roles, boundary_id, everything)
    if any(s.name == name for s in repository.list_services(session)):
        raise ConflictError(
            f"there is a service identity {name!r} already",
            code="name-taken",
            field="name",
            fix="choose another name; one that was disabled keeps its own, for the history",
        )
    row = _write(session, ctx, organization_id, boundary_id, name, purpose)
    for role in sorted(set(roles)):
        organization_service.assign_role(
            session,
            ctx,
            organization_id,
            WantedRole(role, row.principal_id, None, boundary_id),
            reason=f"service identity: {purpose}",
        )
    return row


def _write(
    session: Session,
    ctx: OpContext,
    organization_id: UUID,
    boundary_id: UUID | None,
    name: str,
    purpose: str,
) -> ServiceIdentity:
    row = ServiceIdentity(
        organization_id=organization_id,
        id=new_id(),
        principal_id=new_id(),
        boundary_id=boundary_id,
        name=name,
        purpose=purpose,
        created_by=ctx.actor.principal_id,
    )
    session.execute(
        text("SELECT create_service_principal(:id, :organization, :issuer, :subject, :shown)"),
        {
            "id": row.principal_id,
            "organization": organization_id,
            "issuer": ISSUER.format(organization_id=organization_id),
            "subject": name,
            "shown": name,
        },
    )
    session.add(row)
    session.flush()
    audit.append(
        session,
        ctx,
        "service.created",
        target=f"service/{row.id}",
        organization_id=organization_id,
        detail={
            "name": name,
            "purpose": purpose,
            "boundary_id": str(boundary_id) if boundary_id else None,
        },
    )
    return row


def _check(roles: Collection[RoleName], boundary_id: UUID | None, everything: bool) -> None:
    """Refuse roles that a service, or this caller's service, cannot have."""
    refused = sorted(NEVER & set(roles))
    if refused:
        raise InvalidRequestError(
            f"a service cannot have the role {refused[0]!r}: only people decide",
            field="roles",
            fix="leave it out, and give it to a person",
        )
    if RoleName.PROVISIONER in roles and boundary_id is not None:
        raise InvalidRequestError(
            "a provisioner serves the whole organization",
            field="boundary",
            fix="leave the boundary out",
        )
    if everything:
        return
    if boundary_id is None:
        raise InvalidRequestError(
            "you administer boundaries, so the service must serve one of them",
            field="boundary",
            fix="name your boundary",
        )
    beyond = sorted(set(roles) - OF_BOUNDARY_ADMINS)
    if beyond:
        raise InvalidRequestError(
            f"a boundary's administrator cannot give the role {beyond[0]!r}",
            field="roles",
            fix=f"choose among {', '.join(sorted(OF_BOUNDARY_ADMINS))}, or ask a platform-admin",
        )


def list_visible(session: Session, ctx: OpContext) -> list[ServiceIdentity]:
    """Return the service identities that the caller may see, by name."""
    everything = sees_everything(session, ctx, organization_of(ctx))
    seen = ctx.scope.boundary_ids or frozenset()
    return [s for s in repository.list_services(session) if everything or s.boundary_id in seen]


def get_visible(session: Session, ctx: OpContext, service_id: UUID) -> ServiceIdentity:
    """Return one that the caller looks after, locked. Raises: NotFoundError, also for others'."""
    row = repository.get_service(session, service_id)
    everything = sees_everything(session, ctx, organization_of(ctx))
    if not everything and row.boundary_id not in (ctx.scope.boundary_ids or frozenset()):
        raise NotFoundError(f"there is no service identity {service_id}")
    return row


def create_token(
    session: Session, ctx: OpContext, service_id: UUID, *, name: str, lifetime: timedelta
) -> tuple[TokenCard, str]:
    """Make a token for a service; return it and the secret. Raises: ConflictError if disabled."""
    row = get_visible(session, ctx, service_id)
    if row.disabled_at is not None:
        raise ConflictError("this service identity is disabled", fix="make a new one")
    return api_tokens.create(
        session,
        ctx,
        row.principal_id,
        name=name,
        lifetime=lifetime,
        scope=TokenScope(row.organization_id, row.boundary_id),
        kind="rfs",
    )


def disable(session: Session, ctx: OpContext, service_id: UUID) -> ServiceIdentity:
    """Disable a service for good: tokens and roles end now; repeating it is harmless."""
    row = get_visible(session, ctx, service_id)
    if row.disabled_at is not None:
        return row
    row.disabled_at = now()
    row.disabled_by = ctx.actor.principal_id
    session.execute(
        text("SELECT set_principal_enabled(:organization, :who, false)"),
        {"organization": row.organization_id, "who": row.principal_id},
    )
    ended = api_tokens.revoke_all_of(session, ctx, row.principal_id)
    for assignment in organizations.list_current_assignments(session):
        if assignment.principal_id == row.principal_id:
            organization_service.revoke_role(
                session, ctx, assignment, reason="service identity disabled"
            )
    audit.append(
        session,
        ctx,
        "service.disabled",
        target=f"service/{row.id}",
        organization_id=row.organization_id,
        detail={"name": row.name, "tokens": ended},
    )
    return row
