"""The run's access to the account: which role is open now, and sessions of it.

Called by every step that touches the account. The role is looked up at each use and not kept in
the run's parameters: a grant may be closed and opened again under the next number while the run is
parked (decision 6).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Interval, func, select, type_coerce
from sqlalchemy.orm import Session

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.broker import CredentialBroker
from controlplane.adapters.aws.sessions import Credentials, RoleTarget
from controlplane.adapters.handover import CredentialEndpoint
from controlplane.core.errors import ConflictError
from controlplane.core.run_engine.definition import StepContext
from controlplane.sagas.provisioning.params import ProvisionParams
from controlplane.sagas.provisioning.ports import Ports
from controlplane.tables.access import AccessGrant, GrantState
from controlplane.tables.organizations import CloudConnection

Context = StepContext[ProvisionParams, Ports]

_USABLE = (GrantState.ACTIVE, GrantState.CLOSING)


@dataclass(frozen=True)
class OpenRole:
    """The role of the newest grant, and how long it lasts."""

    grant_id: UUID
    number: int
    state: str
    grant_until: datetime
    remaining: timedelta
    """By the database's clock."""
    target: RoleTarget


def find_role(session: Session, params: ProvisionParams) -> OpenRole | None:
    """Return the role of the boundary's newest grant that was ever open, or None."""
    row = session.execute(
        select(
            AccessGrant,
            CloudConnection,
            type_coerce(AccessGrant.grant_until - func.now(), Interval()),
        )
        .join(
            CloudConnection,
            (CloudConnection.boundary_id == AccessGrant.boundary_id)
            & (CloudConnection.id == AccessGrant.connection_id),
        )
        .where(
            AccessGrant.connection_id == params.connection_id,
            AccessGrant.activated_at.is_not(None),
            AccessGrant.grant_until.is_not(None),
        )
        .order_by(AccessGrant.number.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    grant, connection, remaining = row
    assert grant.grant_until is not None
    assert remaining is not None
    return OpenRole(
        grant_id=grant.id,
        number=grant.number,
        state=grant.state,
        grant_until=grant.grant_until,
        remaining=remaining,
        target=RoleTarget(
            role_arn=connection.role_arn(grant.number),
            external_id=connection.external_id,
            region=connection.region,
            boundary=params.boundary,
        ),
    )


def current_role(context: Context) -> OpenRole:
    """Return the newest role. Raises: ConflictError when no grant was ever open."""
    with context.transaction() as session:
        role = find_role(session, context.params)
    if role is None:
        raise ConflictError(
            f"no grant has opened a role of boundary {context.params.boundary}",
            code="no-grant",
            fix="ask for a grant and let the customer update the role's stack",
        )
    return role


def is_usable(role: OpenRole) -> bool:
    """Say whether the role can be used as far as our rows tell."""
    return role.state in _USABLE and role.remaining > timedelta(0)


def assume(context: Context, role: OpenRole) -> Credentials:
    """Return one session of the role, with run and person in the customer's trail."""
    context.check()
    return context.ports.sessions.assume(
        role.target, run=str(context.run.id), person=context.ctx.actor.subject
    )


@dataclass(frozen=True)
class OpenAccount:
    """The account as one step uses it."""

    role: OpenRole
    account: Account
    endpoint: CredentialEndpoint
    """Where a child process asks for the same credentials."""


@contextmanager
def open_account(context: Context) -> Iterator[OpenAccount]:
    """Open the account for one step: sessions are renewed only while the lease is held."""
    role = current_role(context)
    folder = run_folder(context)
    broker = CredentialBroker(
        renew=lambda: context.ports.sessions.assume(
            role.target, run=str(context.run.id), person=context.ctx.actor.subject
        ),
        lease_held=context.lease_held,
        token_file=folder / f"broker-{context.step}",
    )
    with broker:
        account = context.ports.cloud.account(role.target, broker.credentials)
        yield OpenAccount(role, account, broker.endpoint)


def run_folder(context: Context) -> Path:
    """Return the run's own folder, for its owner only."""
    folder = context.ports.settings.work_dir / str(context.run.id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def output(context: Context, step: str) -> dict[str, Any]:
    """Return the output of an earlier step; empty when it did not succeed."""
    return dict(context.outputs.get(step, {}))
