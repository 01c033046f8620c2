"""Record every attempt of ours to assume a customer's role, before it and after it.

Put around STS by the worker's composition root, so that no caller can open a session that is not
in the record: when the row cannot be written, the role is not assumed. Keys are never recorded.
Separate from `adapters/aws`, which knows no tenant.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from uuid import UUID

from sqlalchemy import text, update

from controlplane.adapters.aws.sessions import (
    PROBE_NAME,
    Credentials,
    ProbeResult,
    RoleSessions,
    RoleTarget,
    session_name,
)
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.core.errors import ForbiddenError, InternalError
from controlplane.core.ids import new_id
from controlplane.tables.reports import VendorSession


def external_id_hash(external_id: str | None) -> str:
    """Return how an External ID is named in the record; empty for none."""
    if external_id is None:
        return ""
    return "sha256:" + hashlib.sha256(external_id.encode()).hexdigest()


class RecordedSessions:
    """`RoleSessions` with a row per attempt in `vendor_session`."""

    def __init__(self, sessions: RoleSessions, database: Database) -> None:
        self._sessions = sessions
        self._database = database

    def assume(self, target: RoleTarget, *, run: str, person: str) -> Credentials:
        """Assume the role as `sessions` does. Raises: what it raises."""
        attempt = self._begin(
            target.role_arn, target.external_id, "work", session_name(run), session_name(person)
        )
        try:
            credentials = self._sessions.assume(target, run=run, person=person)
        except ForbiddenError as error:
            attempt.denied(error.detail.get("aws_code"), error.detail.get("request_id"))
            raise
        attempt.opened(credentials.request_id, credentials.expires_at)
        return credentials

    def probe(self, role_arn: str, external_id: str | None, *, region: str) -> ProbeResult:
        """Probe the role as `sessions` does. Raises: what it raises."""
        attempt = self._begin(role_arn, external_id, "probe", PROBE_NAME, PROBE_NAME)
        result = self._sessions.probe(role_arn, external_id, region=region)
        if result.allowed:
            attempt.opened(result.request_id, None)
        else:
            attempt.denied(result.error_code, result.request_id)
        return result

    def _begin(
        self, role_arn: str, external_id: str | None, purpose: str, name: str, person: str
    ) -> _Attempt:
        account, role = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
        with self._database.transaction(Scope(None)) as session:
            found = session.execute(
                text("SELECT * FROM boundary_of_role(:account, :role, :external_id)"),
                {"account": account, "role": role, "external_id": external_id},
            ).one_or_none()
        if found is None:
            raise InternalError(
                f"no connection has the role {role} in account {account}, so it is not assumed",
                code="unknown-role",
            )
        scope = Scope.boundary(found.organization_id, found.boundary_id)
        row = VendorSession(
            organization_id=found.organization_id,
            boundary_id=found.boundary_id,
            id=new_id(),
            purpose=purpose,
            role_arn=role_arn,
            session_name=name,
            source_identity=person,
            external_id_hash=external_id_hash(external_id),
            asked_at=now(),
            outcome="unknown",
        )
        with self._database.transaction(scope) as session:
            session.add(row)
        return _Attempt(self._database, scope, row.id)


class _Attempt:
    """One row that waits for its outcome."""

    def __init__(self, database: Database, scope: Scope, row_id: UUID) -> None:
        self._database, self._scope, self._id = database, scope, row_id

    def opened(self, request_id: str, expires_at: datetime | None) -> None:
        self._finish(outcome="opened", aws_request_id=request_id or None, expires_at=expires_at)

    def denied(self, code: str | None, request_id: str | None) -> None:
        self._finish(outcome="denied", aws_request_id=request_id or None, error_code=code)

    def _finish(self, **values: str | datetime | None) -> None:
        with self._database.transaction(self._scope) as session:
            session.execute(
                update(VendorSession).where(VendorSession.id == self._id).values(**values)
            )
