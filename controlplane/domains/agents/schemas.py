"""A boundary's agent as people see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from controlplane.tables.agents import Agent, AgentStatusRow
from wire.agent import AgentStatus


class AgentOut(BaseModel):
    """The live agent and its newest status; all None before enrolment."""

    id: UUID | None
    fingerprint: str | None
    agent_version: str | None
    enrolled_at: datetime | None
    last_seen_at: datetime | None
    applied_sequence: int
    gateway_url: str | None
    refused: dict[str, Any] | None
    resources: list[dict[str, Any]]
    verified_artifacts: dict[str, str]


def agent_out(agent: Agent | None, row: AgentStatusRow | None) -> AgentOut:
    """Return the API's form."""
    status = AgentStatus.from_wire(row.status) if row else None
    return AgentOut(
        id=agent.id if agent else None,
        fingerprint=agent.fingerprint if agent else None,
        agent_version=agent.agent_version if agent else None,
        enrolled_at=agent.enrolled_at if agent else None,
        last_seen_at=agent.last_seen_at if agent else None,
        applied_sequence=status.applied_sequence if status else 0,
        gateway_url=status.gateway_url if status else None,
        refused=status.refused.model_dump() if status and status.refused else None,
        resources=[r.model_dump() for r in status.resources] if status else [],
        verified_artifacts=status.verified_artifacts if status else {},
    )
