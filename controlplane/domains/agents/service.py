"""What the control plane wants of a boundary and what the boundary says: bundles, verbs, status.

Called by the agent's routes and by the saga. Signing happens in the worker, before `publish_bundle`
and `issue_verb`: nothing here holds a key.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Session

from controlplane.core import audit, outbox
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, InvalidRequestError, NotFoundError
from controlplane.domains.agents import repository
from controlplane.tables.agents import Agent, AgentStatusRow, BundleRow, VerbRow
from proof.canonical import bytes_digest
from wire.agent import AgentStatus, DesiredState, VerbResult
from wire.envelope import Envelope

PUBLISH = "bundle.publish"
"""Task that publishes a boundary's desired state again if it changed (`tasks.publish_changes`)."""

LARGEST_UNKNOWN = 2**52
"""An agent may report a bundle we do not know up to here: above it numbers are left to go on."""


def publish_bundle(
    session: Session,
    ctx: OpContext,
    organization_id: UUID,
    boundary_id: UUID,
    sequence: int,
    envelope: Envelope,
) -> None:
    """Store a bundle that both keys have signed; the agent's next poll gets it.

    Raises: ConflictError when another bundle took the sequence meanwhile, or the agent is above it.
    """
    published, reported = _require_higher(session, boundary_id, sequence)
    digest = bytes_digest(envelope.payload.encode())
    made = session.execute(
        pg_insert(BundleRow)
        .values(
            organization_id=organization_id,
            boundary_id=boundary_id,
            sequence=sequence,
            digest=digest,
            envelope=envelope.model_dump(mode="json"),
        )
        .on_conflict_do_nothing(constraint="uq_bundle_boundary_id_sequence")
        .returning(BundleRow.id)
    ).scalar_one_or_none()
    if made is None:
        raise ConflictError(f"bundle {sequence} of this boundary is published already")
    audit.append(
        session,
        ctx,
        "bundle.published",
        target=f"bundle/{sequence}",
        boundary_id=boundary_id,
        detail={"digest": digest, "signers": [s.keyid for s in envelope.signatures]},
    )
    if reported > published:
        audit.append(
            session,
            ctx,
            "bundle.sequence-raised",
            target=f"bundle/{sequence}",
            boundary_id=boundary_id,
            detail={"published": published, "reported": reported},
        )
    if sequence == 1:
        # A key made while the first bundle was being signed asked for a bundle too early.
        outbox.enqueue(session, PUBLISH, organization_id=organization_id, boundary_id=boundary_id)


def _require_higher(session: Session, boundary_id: UUID, sequence: int) -> tuple[int, int]:
    """Return the sequences published and reported so far; both stay until the transaction ends."""
    repository.lock_active_agent(session, boundary_id)
    published = repository.last_sequence(session, boundary_id)
    reported = repository.reported_sequence(session, boundary_id)
    if published < sequence <= reported:
        raise ConflictError(f"bundle {sequence} is too low: the agent has applied {reported}")
    if sequence < published:
        raise ConflictError(f"bundle {published} of this boundary is published already")
    return published, reported


def issue_verb(
    session: Session,
    ctx: OpContext,
    organization_id: UUID,
    boundary_id: UUID,
    *,
    verb_id: UUID,
    kind: str,
    run_id: UUID | None,
    envelope: Envelope,
) -> None:
    """Store a signed narrowing verb; issuing the same id again changes nothing."""
    made = session.execute(
        pg_insert(VerbRow)
        .values(
            organization_id=organization_id,
            boundary_id=boundary_id,
            id=verb_id,
            kind=kind,
            run_id=run_id,
            envelope=envelope.model_dump(mode="json"),
        )
        .on_conflict_do_nothing()
        .returning(VerbRow.id)
    ).scalar_one_or_none()
    if made is not None:
        audit.append(
            session,
            ctx,
            "verb.issued",
            target=f"verb/{verb_id}",
            boundary_id=boundary_id,
            detail={"kind": kind},
        )


def desired_state(session: Session, boundary_id: UUID, after: int) -> DesiredState:
    """Return what an agent that applied bundle `after` has to do next; may be nothing."""
    bundle = repository.find_newest_bundle(session, boundary_id, after)
    verbs = repository.list_open_verbs(session, boundary_id)
    return DesiredState(
        bundle=Envelope.model_validate(bundle.envelope) if bundle else None,
        verbs=tuple(Envelope.model_validate(verb.envelope) for verb in verbs),
    )


def record_status(session: Session, agent: Agent, status: AgentStatus) -> None:
    """Keep an agent's newest status; an older one that arrives late changes nothing.

    An agent that applied a bundle we do not know (our database is older than it) is given the next
    one, above that. Raises: InvalidRequestError for a sequence that no bundle can have had.
    """
    published = repository.last_sequence(session, agent.boundary_id)
    if status.applied_sequence > max(published, LARGEST_UNKNOWN):
        raise InvalidRequestError(
            f"no bundle has the sequence {status.applied_sequence}",
            field="applied_sequence",
            fix="report the sequence of the last bundle that was applied",
        )
    before = repository.reported_sequence(session, agent.boundary_id)
    values: dict[str, Any] = {
        "applied_sequence": status.applied_sequence,
        "status": status.to_wire(),
        "received_at": now(),
    }
    statement = pg_insert(AgentStatusRow).values(
        organization_id=agent.organization_id,
        boundary_id=agent.boundary_id,
        agent_id=agent.id,
        **values,
    )
    session.execute(
        statement.on_conflict_do_update(
            constraint="uq_agent_status_boundary_id_agent_id",
            set_=values,
            where=AgentStatusRow.status["observed_at"].astext
            <= status.observed_at.isoformat().replace("+00:00", "Z"),
        )
    )
    session.execute(
        update(Agent)
        .where(Agent.boundary_id == agent.boundary_id, Agent.id == agent.id)
        .values(last_seen_at=now(), agent_version=status.agent_version)
        .execution_options(synchronize_session=False)
    )
    # Once per sequence: the task is repeated until it is done, the status comes every few seconds.
    if 0 < published < status.applied_sequence != before:
        outbox.enqueue(
            session, PUBLISH, organization_id=agent.organization_id, boundary_id=agent.boundary_id
        )


def record_verb_result(
    session: Session, ctx: OpContext, boundary_id: UUID, result: VerbResult
) -> None:
    """Keep an agent's answer. A refusal stays open to a later answer; a deed is final.

    Raises: NotFoundError for a verb that was not issued to this boundary.
    """
    verb = repository.find_verb(session, boundary_id, result.verb_id)
    if verb is None:
        raise NotFoundError(f"no verb {result.verb_id} was issued to this boundary")
    if verb.answered_at is not None:
        return
    verb.result = result.to_wire()
    if result.refused is None:
        verb.answered_at = now()
    session.flush()
    audit.append(
        session,
        ctx,
        "verb.answered",
        target=f"verb/{verb.id}",
        boundary_id=boundary_id,
        detail={
            "kind": verb.kind,
            "refused": result.refused.code if result.refused else None,
        },
    )


def latest_status(session: Session, boundary_id: UUID) -> AgentStatus | None:
    """Return the newest status of the boundary's agent, None before the first."""
    row = repository.find_status(session, boundary_id)
    return AgentStatus.from_wire(row.status) if row else None


def verb_result(session: Session, boundary_id: UUID, verb_id: UUID) -> VerbResult | None:
    """Return the agent's answer to a verb, None while there is none."""
    verb = repository.find_verb(session, boundary_id, verb_id)
    return VerbResult.from_wire(verb.result) if verb and verb.result else None
