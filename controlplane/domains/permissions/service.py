"""Keep what a grant asks for, and compare it with what was open last.

Called by grants (keep), connections (what was approved) and approvals (the summary). The comparison
itself is `iam.policy_diff`; here it gets its documents, and nothing is shown whose digest is not
the one that is approved.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core.errors import ConflictError, InternalError
from controlplane.domains.permissions import repository
from controlplane.domains.permissions.repository import Asked
from controlplane.tables.access import AccessGrant, PermissionDocument
from controlplane.tables.organizations import Boundary
from iam.policy_diff import STATUSES, Change, compare
from iam.role_permissions import RolePermissions, read_permissions
from proof.canonical import bytes_digest, canonical_bytes, digest


@dataclass(frozen=True)
class SettingChange:
    """Something of the template beside its policies that is not as it was."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Comparison:
    """What a grant asks for, beside what was open last."""

    grant: AccessGrant
    base: AccessGrant | None
    """The last grant seen open before; None for the first one."""
    is_base_kept: bool
    permissions: RolePermissions
    changes: tuple[Change, ...]
    settings: tuple[SettingChange, ...]

    def counts(self) -> dict[str, int]:
        """Return how many lines there are of each kind, and how many give more power."""
        found = Counter(change.status for change in self.changes)
        return {
            **{status: found[status] for status in STATUSES},
            "settings": len(self.settings),
            "more_power": sum(change.power == "more" for change in self.changes),
        }


def keep(session: Session, boundary: Boundary, document: dict[str, Any]) -> PermissionDocument:
    """Keep a document, once however often it is asked for."""
    return repository.ensure_document(session, boundary, digest(document), document)


def find_approved(session: Session, grant: AccessGrant | None) -> dict[str, Any] | None:
    """Return the document that an open grant was approved with; None where none was kept."""
    found = repository.find_document(session, grant) if grant is not None else None
    if found is None:
        return None
    _checked(found)
    return found.document


def compare_one(session: Session, grant_id: UUID) -> Comparison:
    """Compare one grant. Raises: NotFoundError; ConflictError where nothing was kept."""
    asked = repository.get_asked(session, grant_id)
    if asked.document is None:
        raise ConflictError(
            f"what grant {grant_id} asked for was not kept: it is older than this version",
            code="permissions-not-kept",
            fix="read the role's template with GET /v1/connections/{connection_id}/template",
        )
    return _compare(asked, repository.list_opened_before(session, [grant_id]).get(grant_id))


def compare_many(session: Session, grant_ids: Collection[UUID]) -> dict[UUID, Comparison]:
    """Compare grants in two queries; one whose document was not kept is left out."""
    asked = repository.list_asked(session, grant_ids)
    before = repository.list_opened_before(session, grant_ids)
    return {
        identifier: _compare(one, before.get(identifier))
        for identifier, one in asked.items()
        if one.document is not None
    }


def _compare(
    asked: Asked, before: tuple[AccessGrant, PermissionDocument | None] | None
) -> Comparison:
    assert asked.document is not None
    base, kept = before or (None, None)
    where = (asked.partition, asked.account)
    new = _checked(asked.document)
    changes, settings, permissions = _compared(_checked(kept) if kept else None, new, *where)
    return Comparison(asked.grant, base, kept is not None, permissions, changes, settings)


def _checked(row: PermissionDocument) -> bytes:
    """Return a kept document's bytes. Raises: InternalError when they are not what was kept."""
    data = canonical_bytes(row.document)
    if bytes_digest(data) != row.digest:
        raise InternalError(
            "kept permissions do not have their digest",
            internal_context={"permission_document": str(row.id), "digest": row.digest},
        )
    return data


@lru_cache(maxsize=64)
def _compared(
    before: bytes | None, after: bytes, partition: str, account: str
) -> tuple[tuple[Change, ...], tuple[SettingChange, ...], RolePermissions]:
    """Compare two documents by their bytes; many boundaries and many looks ask for the same."""
    new = _read(after, partition, account)
    old = _read(before, partition, account) if before is not None else None
    changes = compare(old.forms if old else {}, new.forms)
    return changes, _settings(old.settings if old else {}, new.settings), new


def _read(data: bytes, partition: str, account: str) -> RolePermissions:
    return read_permissions(json.loads(data), partition=partition, account=account)


def _settings(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[SettingChange, ...]:
    return tuple(
        SettingChange(path, before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    )
