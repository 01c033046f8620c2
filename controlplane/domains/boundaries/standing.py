"""How boundaries stand now: installs with their four axes, the live grant, the newest run.

Called by the router for all boundaries of an answer at once: five queries however many boundaries
there are. Separate from `repository`, which knows boundaries only.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session, defer

from controlplane.core.run_engine.tables import Run
from controlplane.domains.identity import repository as identity
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.tables.access import ENDED_GRANT_STATES, AccessGrant
from controlplane.tables.agents import Agent
from controlplane.tables.installs import Install
from controlplane.tables.organizations import CloudConnection


@dataclass(frozen=True)
class Standing:
    """What is known of one boundary."""

    installs: list[Install] = field(default_factory=list)
    runs: dict[UUID, Run] = field(default_factory=dict)
    """Install -> its newest run."""
    grant: AccessGrant | None = None
    """The grant that has not ended; at most one."""
    requester: PrincipalCard | None = None
    connection_state: str | None = None
    agent_seen_at: datetime | None = None


def standings(session: Session, boundary_ids: Collection[UUID]) -> dict[UUID, Standing]:
    """Return how each of these boundaries stands; every id is in the answer."""
    found = {i: Standing() for i in boundary_ids}
    if not found:
        return found
    installs = _installs(session, boundary_ids)
    runs = _newest_runs(session, boundary_ids)
    grants = _live_grants(session, boundary_ids)
    cards = identity.get_cards(session, [g.requested_by for g in grants.values()])
    connections = _connection_states(session, boundary_ids)
    seen = _agents_seen(session, boundary_ids)
    for boundary_id in found:
        grant = grants.get(boundary_id)
        found[boundary_id] = Standing(
            installs=[i for i in installs if i.boundary_id == boundary_id],
            runs=runs,
            grant=grant,
            requester=cards.get(grant.requested_by) if grant else None,
            connection_state=connections.get(boundary_id),
            agent_seen_at=seen.get(boundary_id),
        )
    return found


def _installs(session: Session, boundary_ids: Collection[UUID]) -> list[Install]:
    return list(
        session.scalars(
            select(Install)
            .where(Install.boundary_id.in_(boundary_ids))
            .order_by(Install.created_at.desc())
        )
    )


def _newest_runs(session: Session, boundary_ids: Collection[UUID]) -> dict[UUID, Run]:
    statement = (
        select(Run)
        # What stands is the work of writing runs; one that only reads says nothing about it.
        .where(Run.boundary_id.in_(boundary_ids), Run.install_id.is_not(None), Run.lane == "write")
        .ext(distinct_on(Run.install_id))
        .order_by(Run.install_id, Run.created_at.desc())
        .options(defer(Run.plan), defer(Run.params))  # large, and shown on the run's own page
    )
    return {run.install_id: run for run in session.scalars(statement) if run.install_id}


def _live_grants(session: Session, boundary_ids: Collection[UUID]) -> dict[UUID, AccessGrant]:
    statement = select(AccessGrant).where(
        AccessGrant.boundary_id.in_(boundary_ids),
        AccessGrant.state.not_in([s.value for s in ENDED_GRANT_STATES]),
    )
    return {g.boundary_id: g for g in session.scalars(statement)}


def _connection_states(session: Session, boundary_ids: Collection[UUID]) -> dict[UUID, str]:
    rows = session.execute(
        select(CloudConnection.boundary_id, CloudConnection.state).where(
            CloudConnection.boundary_id.in_(boundary_ids)
        )
    )
    return {row.boundary_id: row.state for row in rows}


def _agents_seen(session: Session, boundary_ids: Collection[UUID]) -> dict[UUID, datetime]:
    rows = session.execute(
        select(Agent.boundary_id, Agent.last_seen_at).where(
            Agent.boundary_id.in_(boundary_ids), Agent.revoked_at.is_(None)
        )
    )
    return {row.boundary_id: row.last_seen_at for row in rows}
