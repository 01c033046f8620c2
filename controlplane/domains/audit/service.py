"""Read, export and anchor audit chains; whoever may do it leaves an event of having done so.

Called by the routes. A chain is named, and a name that the caller may not read is not found. The
organization's own chain is for who holds a reading role in the whole organization, a boundary's for
who holds one there, the platform's for the platform's own administrators and auditors.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import update
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.audit import AuditEvent
from controlplane.core.clock import now
from controlplane.core.db import Database
from controlplane.core.errors import ConflictError, NotFoundError
from controlplane.domains.audit import repository
from controlplane.domains.audit.chains import PLATFORM, Chain, boundary_chain, organization_chain
from controlplane.domains.audit.repository import EventFilter
from controlplane.domains.identity import service as identity
from controlplane.tables.checkpoints import AuditCheckpoint
from controlplane.tables.identity import RoleName
from wire.audit import CheckpointAnchored, CheckpointBatch, SignedCheckpoint

READERS: Final = frozenset({RoleName.PLATFORM_ADMIN, RoleName.APPROVER, RoleName.AUDITOR})
"""Roles that read an organization's chain when they are held in the whole organization."""
PLATFORM_READERS: Final = frozenset({RoleName.PLATFORM_ADMIN, RoleName.AUDITOR})
BATCH = 20
"""Checkpoints that an agent is given at once."""


@dataclass(frozen=True)
class ChainState:
    """How far a chain has come, how far it is signed, and how far that is anchored."""

    chain: Chain
    size: int
    head_hash: str | None
    checkpoint: AuditCheckpoint | None
    anchored: AuditCheckpoint | None


def readable_chains(database: Database, ctx: OpContext) -> list[Chain]:
    """Return the chains that the caller may read: platform, organization, then boundaries."""
    organization_id = ctx.scope.organization_id
    assert organization_id is not None
    with database.transaction(ctx.scope) as session:
        held = identity.held_roles(session, ctx.actor)
        chains: list[Chain] = []
        if any(r.organization_id is None and r.role in PLATFORM_READERS for r in held):
            chains.append(Chain(PLATFORM))
        if any(
            r.organization_id == organization_id
            and r.boundary_id is None
            and not r.is_pending_guest
            and r.role in READERS
            for r in held
        ):
            name = repository.organization_name(session, organization_id)
            chains.append(organization_chain(name, organization_id))
        places = repository.boundaries_of(
            session, organization_id, ctx.scope.boundary_ids or frozenset()
        )
    return chains + [boundary_chain(name, organization_id, place) for place, name in places]


def get_chain(database: Database, ctx: OpContext, name: str) -> Chain:
    """Return a chain by its name. Raises: NotFoundError, also for one the caller may not read."""
    for chain in readable_chains(database, ctx):
        if chain.name == name:
            return chain
    raise NotFoundError(
        f"there is no audit chain {name!r}, or you have no role that may read it",
        field="chain",
        fix="list those you can read with GET /v1/audit/chains",
    )


def chain_state(database: Database, chain: Chain) -> ChainState:
    """Return the state of a chain."""
    with database.transaction(chain.scope) as session:
        size, head_hash = repository.find_head(session, chain.chain_id) or (0, None)
        return ChainState(
            chain,
            size,
            head_hash,
            repository.find_newest_checkpoint(session, chain.chain_id),
            repository.find_newest_checkpoint(session, chain.chain_id, anchored=True),
        )


def read_events(
    database: Database, ctx: OpContext, chain: Chain, only: EventFilter, *, after: int, limit: int
) -> list[AuditEvent]:
    """Return a page of a chain; the reading is an event of the same chain."""
    with database.transaction(chain.scope) as session:
        events = repository.list_events(
            session, chain.chain_id, after=after, limit=limit, only=only
        )
        detail = {**only.parameters(), "after": after, "limit": limit, "events": len(events)}
        record(session, ctx, chain, "audit.read", detail)
    return events


def record(
    session: Session, ctx: OpContext, chain: Chain, code: str, detail: dict[str, object]
) -> int:
    """Append an event about a chain to that chain; return its sequence."""
    return audit.append(
        session,
        OpContext(ctx.actor, ctx.request_id, chain.scope, ctx.roles),
        code,
        target=chain.target,
        boundary_id=chain.boundary_id,
        organization_id=chain.organization_id,
        detail=detail,
    )


def list_checkpoints(
    database: Database, chain: Chain, *, after: int, limit: int
) -> list[AuditCheckpoint]:
    """Return a page of a chain's checkpoints; they hold hashes only, so this is no event."""
    with database.transaction(chain.scope) as session:
        return repository.list_checkpoints(session, chain.chain_id, after=after, limit=limit)


def unanchored(session: Session, chain: Chain) -> CheckpointBatch:
    """Return what the boundary's agent has to put into the customer's bucket next."""
    rows = repository.list_unanchored(session, chain.chain_id, BATCH)
    return CheckpointBatch(checkpoints=tuple(SignedCheckpoint.from_wire(r.signed) for r in rows))


def record_anchored(session: Session, chain: Chain, report: CheckpointAnchored) -> None:
    """Keep that a checkpoint is anchored; the first report stays.

    No event: it would make the chain grow, which would make a checkpoint, which is anchored.
    Raises: ConflictError when the agent anchored another root than ours for this size.
    """
    moment: datetime = now()
    known = session.get(AuditCheckpoint, (chain.chain_id, report.size))
    if known is None or known.root != report.root:
        raise ConflictError(
            f"there is no checkpoint of {report.size} events with the root {report.root}",
            code="unknown-checkpoint",
            field="root",
            fix="keep what you have anchored, and show it to whoever reads the audit",
        )
    session.execute(
        update(AuditCheckpoint)
        .where(
            AuditCheckpoint.chain_id == chain.chain_id,
            AuditCheckpoint.size == report.size,
            AuditCheckpoint.anchored_at.is_(None),
        )
        .values(anchored_at=moment, anchored_as=report.location)
        .execution_options(synchronize_session=False)
    )
