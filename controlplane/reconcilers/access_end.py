"""The worker's half of watching grants: look at the role, and take our power from a parked run.

Both are jobs: started by ids from the outbox, safe to run twice, no transaction open while AWS is
asked. They act outside a run on purpose: a parked run is held by nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.closing import PowerOff
from controlplane.adapters.aws.sessions import Credentials, RoleSessions, RoleTarget
from controlplane.core.actor import OpContext, system_actor
from controlplane.core.db import Database, Scope
from controlplane.core.errors import ForbiddenError
from controlplane.domains.connections import repository as connections
from controlplane.domains.grants import repository
from controlplane.domains.grants import service as grants
from controlplane.tables.access import GrantState
from controlplane.tables.organizations import Boundary

_OVER = frozenset({GrantState.CLOSED, GrantState.DENIED, GrantState.REQUESTED, GrantState.APPROVED})


class PowerSwitch(Protocol):
    """What is needed of the account (`sagas.provisioning.ports.Cloud` has it)."""

    def account(self, target: RoleTarget, source: Callable[[], Credentials]) -> Account: ...

    def power_off(self, account: Account) -> PowerOff: ...


def watch_grant(
    db: Database, sessions: RoleSessions, *, organization_id: str, boundary_id: str, grant_id: str
) -> None:
    """Probe the role of a grant once; when it is shut, record by whom."""
    scope = Scope.boundary(UUID(organization_id), UUID(boundary_id))
    with db.transaction(scope) as session:
        grant = repository.get_grant(session, UUID(grant_id))
        connection = connections.get_for_boundary(session, scope_boundary(scope))
        if grant.state in _OVER:
            return
        arn, external_id = connection.role_arn(grant.number), connection.external_id
        region = connection.region
    probe = sessions.probe(arn, external_id, region=region)
    if probe.allowed:
        return
    context = OpContext(system_actor("worker"), f"grant/{grant_id}", scope)
    with db.transaction(scope) as session:
        grant = repository.get_grant(session, UUID(grant_id), lock=True)
        if grant.state in _OVER:
            return
        is_expired = grant.grant_until is not None and grant.grant_until <= probe.at
        closed_by = "expiry" if is_expired else "customer"
        grants.end(session, context, grant.id, GrantState.CLOSED, closed_by=closed_by)


def close_parked(
    db: Database,
    sessions: RoleSessions,
    cloud: PowerSwitch,
    *,
    organization_id: str,
    boundary_id: str,
    run_id: str,
) -> None:
    """Take our power from the open role of a parked run; going on needs a new opening."""
    scope = Scope.boundary(UUID(organization_id), UUID(boundary_id))
    with db.transaction(scope) as session:
        grant = repository.find_unfinished(session, scope_boundary(scope))
        if grant is None or grant.state != GrantState.ACTIVE:
            return
        connection = connections.get_for_boundary(session, scope_boundary(scope))
        boundary = session.get(Boundary, (scope.organization_id, scope_boundary(scope)))
        assert boundary is not None
        target = RoleTarget(
            role_arn=connection.role_arn(grant.number),
            external_id=connection.external_id,
            region=connection.region,
            boundary=boundary.name,
        )
    try:
        last = sessions.assume(target, run=run_id, person="ringfence-scheduler")
        cloud.power_off(cloud.account(target, lambda: last))
    except ForbiddenError:
        # The customer was faster: the watch records who ended it.
        return
    context = OpContext(system_actor("worker"), f"run/{run_id}", scope)
    with db.transaction(scope) as session:
        grants.end(session, context, grant.id, GrantState.CLOSING)


def scope_boundary(scope: Scope) -> UUID:
    """Return the one boundary of a job's scope."""
    assert scope.boundary_ids is not None
    (boundary,) = scope.boundary_ids
    return boundary
