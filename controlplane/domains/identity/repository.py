"""The directory functions of the migrations, as Python calls; all run before there is a scope."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from controlplane.core.actor import Actor, Restriction
from controlplane.core.ids import new_id
from controlplane.domains.identity.principals import FoundSession, HeldRole, PrincipalCard
from controlplane.tables.identity import IdentityProvider
from controlplane.tables.organizations import Boundary
from controlplane.tables.services import ServiceIdentity
from controlplane.tables.waivers import Waiver, WaiverState


def find_actor_by_token_hash(session: Session, wanted: str) -> Actor | None:
    """Return whose valid token this is, with what it narrows that one to, or None."""
    row = session.execute(
        text("SELECT * FROM authenticate_token(:wanted)"), {"wanted": wanted}
    ).one_or_none()
    if row is None:
        return None
    restriction = Restriction(
        row.token_id,
        row.only_organization_id,
        row.only_boundary_id,
        None if row.only_roles is None else frozenset(row.only_roles),
    )
    return replace(_actor(row), restriction=restriction)


def _actor(row: Any) -> Actor:
    return Actor(
        principal_id=row.principal_id,
        issuer=row.issuer,
        subject=row.subject,
        kind=row.kind,
        organization_id=row.organization_id,
        display=row.display,
        person_key=row.person_key,
    )


def find_session_by_hash(session: Session, wanted: str) -> FoundSession | None:
    """Return the browser's session with this hash, live or not, or None."""
    row = session.execute(
        text("SELECT * FROM authenticate_session(:wanted)"), {"wanted": wanted}
    ).one_or_none()
    if row is None:
        return None
    return FoundSession(
        row.id,
        _actor(row),
        row.seen_at,
        row.idle_ends_at,
        row.ends_at,
        row.ended_at,
        row.disabled_at,
    )


def list_sign_in_providers(
    session: Session, organization_id: UUID | None, issuer: str | None
) -> list[Any]:
    """Return the current provider rows of an organization or an issuer; none for two Nones."""
    rows = session.execute(
        text("SELECT * FROM sign_in_provider(:organization, :issuer)"),
        {"organization": organization_id, "issuer": issuer},
    )
    return list(rows)


def record_sign_in(
    session: Session,
    principal_id: UUID,
    *,
    display: str | None,
    person_key: str | None,
    methods: Collection[str],
    context: str | None,
) -> tuple[bool, bool, str]:
    """Write what the provider says of a person; None keeps what is known.

    Returns (is enabled, person key has changed, the name that is kept).
    """
    row = session.execute(
        text("SELECT * FROM record_sign_in(:who, :shown, :key, CAST(:methods AS jsonb), :context)"),
        {
            "who": principal_id,
            "shown": display,
            "key": person_key,
            "methods": json.dumps(list(methods)),
            "context": context,
        },
    ).one()
    return row.is_enabled, row.key_changed, row.display


def list_roles(session: Session, principal_id: UUID) -> list[HeldRole]:
    """Return every role the principal holds now, direct or through a group."""
    rows = session.execute(text("SELECT * FROM principal_roles(:who)"), {"who": principal_id})
    return [
        HeldRole(
            r.organization_id,
            r.organization_name,
            r.boundary_id,
            r.role,
            r.pending_guest,
            r.waiver_id,
            r.waiver_ends_at,
        )
        for r in rows
    ]


def find_organization_id(session: Session, name: str) -> UUID | None:
    """Return the id of the organization called `name`, or None."""
    found: UUID | None = session.execute(
        text("SELECT organization_id_by_name(:name)"), {"name": name}
    ).scalar_one()
    return found


def find_boundary_id(session: Session, organization_id: UUID, name: str) -> UUID | None:
    """Return the id of an organization's boundary by name, or None."""
    found: UUID | None = session.execute(
        text("SELECT boundary_id_by_name(:organization, :name)"),
        {"organization": organization_id, "name": name},
    ).scalar_one()
    return found


def list_boundary_ids(session: Session, organization_id: UUID) -> frozenset[UUID]:
    """Return the ids of all boundaries of an organization."""
    rows: Iterable[UUID] = session.execute(
        text("SELECT * FROM organization_boundary_ids(:id)"), {"id": organization_id}
    ).scalars()
    return frozenset(rows)


def ensure_principal(session: Session, issuer: str, subject: str, display: str) -> UUID:
    """Return the id of the principal (issuer, subject), making it when it is new."""
    found: UUID = session.execute(
        text("SELECT ensure_principal(:id, :issuer, :subject, :display)"),
        {"id": new_id(), "issuer": issuer, "subject": subject, "display": display},
    ).scalar_one()
    return found


def get_cards(session: Session, ids: Collection[UUID | None]) -> dict[UUID, PrincipalCard]:
    """Return who these principals are, by id; unknown ids are left out."""
    wanted = sorted({i for i in ids if i is not None})
    if not wanted:
        return {}
    rows: Any = session.execute(
        text("SELECT * FROM principals_by_id(CAST(:ids AS uuid[]))"),
        {"ids": [str(i) for i in wanted]},
    )
    return {
        r.id: PrincipalCard(r.id, r.issuer, r.subject, r.kind, r.display, r.person_key)
        for r in rows
    }


def list_ids_by_subject(session: Session, subject: str) -> list[UUID]:
    """Return the ids of the principals with this subject, of any issuer."""
    rows: Any = session.execute(
        text("SELECT * FROM principals_by_subject(CAST(:s AS text[]))"), {"s": [subject]}
    )
    return [r.id for r in rows]


def is_disabled(session: Session, principal_id: UUID) -> bool:
    """Tell whether a principal is disabled."""
    found: bool = session.execute(
        text("SELECT principal_is_disabled(:who)"), {"who": principal_id}
    ).scalar_one()
    return found


def find_home(session: Session, card: PrincipalCard) -> UUID | None:
    """Return the organization in scope whose own person or service this is, or None."""
    if card.kind == "service":
        return session.scalars(
            select(ServiceIdentity.organization_id).where(ServiceIdentity.principal_id == card.id)
        ).one_or_none()
    return find_home_of_issuer(session, card.issuer)


def find_home_of_issuer(session: Session, issuer: str) -> UUID | None:
    """Return the organization in scope whose own identity provider this is, or None."""
    return session.scalars(
        select(IdentityProvider.organization_id).where(IdentityProvider.issuer == issuer)
    ).one_or_none()


def find_boundary_id_in_scope(session: Session, name: str) -> UUID | None:
    """Return the id of a boundary in scope by its name, or None."""
    return session.scalars(select(Boundary.id).where(Boundary.name == name)).one_or_none()


def find_newest_waiver(
    session: Session, principal_id: UUID, boundary_id: UUID | None
) -> Waiver | None:
    """Return the waiver in scope that says most of a guest's access to a place, or None.

    One that was approved and not ended goes before any other; then the one that ends last.
    """
    return session.scalars(
        select(Waiver)
        .where(
            Waiver.principal_id == principal_id,
            or_(Waiver.boundary_id.is_(None), Waiver.boundary_id == boundary_id),
        )
        .order_by((Waiver.state == WaiverState.APPROVED).desc(), Waiver.ends_at.desc())
        .limit(1)
    ).one_or_none()
