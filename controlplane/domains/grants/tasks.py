"""`connection.verify`: probe the role, judge the attempts, activate the grant when it is open.

Called by the worker with ids. It stands with grants and not with connections because a probe that
finds the role open activates the grant. The probe talks to the cloud, so no transaction is open
meanwhile; running it twice probes twice and ends the same.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core.actor import OpContext, system_actor
from controlplane.core.db import Database, Scope
from controlplane.core.errors import RingfenceError
from controlplane.core.logging import get
from controlplane.domains.connections import repository, service
from controlplane.domains.grants import service as grants
from controlplane.domains.grants.repository import get_grant, last_opened_number
from controlplane.tables.access import GrantState
from controlplane.tables.organizations import VerificationState

log = get(__name__)


class Probe(Protocol):
    """What an attempt to assume the role showed (`adapters.aws.sessions.ProbeResult`)."""

    @property
    def allowed(self) -> bool: ...

    @property
    def error_code(self) -> str | None: ...


class Prober(Protocol):
    """What this task needs of STS (`adapters.aws.sessions.RoleSessions`)."""

    def probe(self, role_arn: str, external_id: str | None, *, region: str) -> Probe: ...


@dataclass(frozen=True)
class _Work:
    role_arn: str
    region: str
    external_ids: dict[str, str | None]
    grant_id: UUID | None
    expect: str


def verify_connection(
    database: Database,
    prober: Prober,
    *,
    organization_id: str,
    boundary_id: str,
    verification_id: str,
) -> None:
    """Do one queued probe; a finished one is left as it is. Ids come as text, from the outbox.

    Raises: RingfenceError that is retryable, when the cloud gave no answer at all.
    """
    scope = Scope.boundary(UUID(organization_id), UUID(boundary_id))
    identifier = UUID(verification_id)
    work = _load(database, scope, identifier)
    if work is None:
        return
    attempts: list[dict[str, Any]] = []
    try:
        for label, external_id in work.external_ids.items():
            result = prober.probe(work.role_arn, external_id, region=work.region)
            attempts.append(
                {"external_id": label, "allowed": result.allowed, "error_code": result.error_code}
            )
    except RingfenceError as error:
        if error.retryable:
            raise
        # Asking again would end the same: the probe has failed, and people must see that.
        log.warning("probe.cut-off", code=error.stable_code, attempts=len(attempts))
    _keep(database, scope, identifier, work, attempts)


def _load(database: Database, scope: Scope, verification_id: UUID) -> _Work | None:
    with database.transaction(scope) as session:
        row = repository.get_verification(session, verification_id)
        if row.finished_at is not None:
            return None
        row.state = VerificationState.RUNNING
        connection = repository.get_for_boundary(session, row.boundary_id)
        number = _role_number(session, row.grant_id, row.boundary_id)
        external_ids: dict[str, str | None] = {
            "ours": connection.external_id,
            "none": None,
            "wrong": f"ringfence-{secrets.token_hex(16)}",
        }
        foreign = repository.find_foreign_external_id(session, row.boundary_id)
        if foreign is not None:
            external_ids["foreign"] = foreign
        return _Work(
            connection.role_arn(number), connection.region, external_ids, row.grant_id, row.expect
        )


def _role_number(session: Session, grant_id: UUID | None, boundary_id: UUID) -> int:
    """Return the number in the role's name: the grant's, else of the last opening, else 0."""
    if grant_id is not None:
        return get_grant(session, grant_id).number
    return last_opened_number(session, boundary_id)


def _keep(
    database: Database,
    scope: Scope,
    verification_id: UUID,
    work: _Work,
    attempts: list[dict[str, Any]],
) -> None:
    context = OpContext(system_actor("worker"), f"verification/{verification_id}", scope)
    with database.transaction(scope) as session:
        row = service.record_verification(session, context, verification_id, attempts)
        if work.expect != "open" or work.grant_id is None:
            return
        if row.state != VerificationState.PASSED:
            return
        if get_grant(session, work.grant_id).state == GrantState.APPROVED:
            grants.activate(session, context, work.grant_id)
