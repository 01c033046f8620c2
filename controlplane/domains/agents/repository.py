"""Queries on agents, tokens, bundles, verbs and statuses, all within one boundary's scope."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from controlplane.tables.agents import Agent, AgentStatusRow, BundleRow, EnrolmentToken, VerbRow


def find_boundary_of_token(session: Session, token_hash: str) -> tuple[UUID, UUID] | None:
    """Return (organization, boundary) of a token's hash; works without a tenant scope."""
    row = session.execute(
        text("SELECT organization_id, boundary_id FROM boundary_of_enrolment_token(:hash)"),
        {"hash": token_hash},
    ).one_or_none()
    return (row[0], row[1]) if row else None


def find_token(session: Session, token_hash: str) -> EnrolmentToken | None:
    """Return a token, locked until the end of the transaction: it is used once."""
    return session.scalars(
        select(EnrolmentToken).where(EnrolmentToken.token_hash == token_hash).with_for_update()
    ).one_or_none()


def find_agent_of_token(session: Session, token_id: UUID) -> Agent | None:
    """Return the agent that enrolled with a token."""
    return session.scalars(
        select(Agent).where(Agent.enrolment_token_id == token_id, Agent.revoked_at.is_(None))
    ).one_or_none()


def find_active_agent(session: Session, boundary_id: UUID) -> Agent | None:
    """Return the boundary's live agent."""
    return session.scalars(
        select(Agent).where(Agent.boundary_id == boundary_id, Agent.revoked_at.is_(None))
    ).one_or_none()


def find_status(session: Session, boundary_id: UUID) -> AgentStatusRow | None:
    """Return the newest status of the boundary's live agent."""
    return session.scalars(
        select(AgentStatusRow)
        .join(
            Agent,
            (Agent.boundary_id == AgentStatusRow.boundary_id)
            & (Agent.id == AgentStatusRow.agent_id),
        )
        .where(AgentStatusRow.boundary_id == boundary_id, Agent.revoked_at.is_(None))
    ).one_or_none()


def last_sequence(session: Session, boundary_id: UUID) -> int:
    """Return the sequence of the newest bundle, 0 before the first."""
    return (
        session.scalar(
            select(func.coalesce(func.max(BundleRow.sequence), 0)).where(
                BundleRow.boundary_id == boundary_id
            )
        )
        or 0
    )


def reported_sequence(session: Session, boundary_id: UUID) -> int:
    """Return the sequence that the boundary's live agent says it applied, 0 before it speaks."""
    row = find_status(session, boundary_id)
    return row.applied_sequence if row else 0


def lock_active_agent(session: Session, boundary_id: UUID) -> None:
    """Let nobody else publish, and the live agent not report, until the transaction ends."""
    session.execute(
        select(Agent.id)
        .where(Agent.boundary_id == boundary_id, Agent.revoked_at.is_(None))
        .with_for_update()
    )


def find_newest_bundle(session: Session, boundary_id: UUID, after: int) -> BundleRow | None:
    """Return the newest bundle if it is above `after`; older ones are superseded whole."""
    return session.scalars(
        select(BundleRow)
        .where(BundleRow.boundary_id == boundary_id, BundleRow.sequence > after)
        .order_by(BundleRow.sequence.desc())
        .limit(1)
    ).one_or_none()


def list_open_verbs(session: Session, boundary_id: UUID) -> list[VerbRow]:
    """Return the verbs that have no answer yet, oldest first."""
    return list(
        session.scalars(
            select(VerbRow)
            .where(VerbRow.boundary_id == boundary_id, VerbRow.answered_at.is_(None))
            .order_by(VerbRow.issued_at)
            .limit(20)
        )
    )


def find_verb(session: Session, boundary_id: UUID, verb_id: UUID) -> VerbRow | None:
    """Return a verb, locked until the end of the transaction."""
    return session.scalars(
        select(VerbRow)
        .where(VerbRow.boundary_id == boundary_id, VerbRow.id == verb_id)
        .with_for_update()
    ).one_or_none()
