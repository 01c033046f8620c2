"""Queries on kept permission documents and on the grants that they are compared between."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session, aliased

from controlplane.core.errors import NotFoundError
from controlplane.core.ids import new_id
from controlplane.tables.access import AccessGrant, PermissionDocument
from controlplane.tables.organizations import Boundary, CloudConnection


@dataclass(frozen=True)
class Asked:
    """A grant with its document and the account that the document is for."""

    grant: AccessGrant
    document: PermissionDocument | None
    partition: str
    account: str


def ensure_document(
    session: Session, boundary: Boundary, digest: str, document: dict[str, Any]
) -> PermissionDocument:
    """Keep a document once per boundary and digest."""
    session.execute(
        insert(PermissionDocument)
        .values(
            organization_id=boundary.organization_id,
            boundary_id=boundary.id,
            id=new_id(),
            digest=digest,
            document=document,
        )
        .on_conflict_do_nothing(index_elements=["boundary_id", "digest"])
    )
    return session.scalars(
        select(PermissionDocument).where(
            PermissionDocument.boundary_id == boundary.id, PermissionDocument.digest == digest
        )
    ).one()


def find_document(session: Session, grant: AccessGrant) -> PermissionDocument | None:
    """Return what a grant asks for; None for a grant from before documents were kept."""
    return session.scalars(
        select(PermissionDocument).where(
            PermissionDocument.boundary_id == grant.boundary_id,
            PermissionDocument.id == grant.permission_document_id,
        )
    ).one_or_none()


def list_asked(session: Session, grant_ids: Collection[UUID]) -> dict[UUID, Asked]:
    """Return grants in scope with their documents, by id."""
    rows = session.execute(
        select(AccessGrant, PermissionDocument, CloudConnection.partition, CloudConnection.account)
        .join(
            CloudConnection,
            (CloudConnection.boundary_id == AccessGrant.boundary_id)
            & (CloudConnection.id == AccessGrant.connection_id),
        )
        .outerjoin(
            PermissionDocument,
            (PermissionDocument.boundary_id == AccessGrant.boundary_id)
            & (PermissionDocument.id == AccessGrant.permission_document_id),
        )
        .where(AccessGrant.id.in_(grant_ids))
    )
    return {row[0].id: Asked(*row) for row in rows}


def get_asked(session: Session, grant_id: UUID) -> Asked:
    """Return a grant in scope with its document. Raises: NotFoundError."""
    found = list_asked(session, [grant_id])
    if grant_id not in found:
        raise NotFoundError(f"there is no grant {grant_id}")
    return found[grant_id]


def list_opened_before(
    session: Session, grant_ids: Collection[UUID]
) -> dict[UUID, tuple[AccessGrant, PermissionDocument | None]]:
    """Return, by grant, the last grant of its boundary that was seen open before it."""
    asked = aliased(AccessGrant)
    rows = session.execute(
        select(asked.id, AccessGrant, PermissionDocument)
        .join(
            AccessGrant,
            (AccessGrant.boundary_id == asked.boundary_id)
            & (AccessGrant.number < asked.number)
            & AccessGrant.activated_at.is_not(None),
        )
        .outerjoin(
            PermissionDocument,
            (PermissionDocument.boundary_id == AccessGrant.boundary_id)
            & (PermissionDocument.id == AccessGrant.permission_document_id),
        )
        .where(asked.id.in_(grant_ids))
        .ext(distinct_on(asked.id))
        .order_by(asked.id, AccessGrant.number.desc())
    )
    return {identifier: (grant, document) for identifier, grant, document in rows}
