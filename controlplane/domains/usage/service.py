"""Take roll-ups from agents and read them; a row about a person never gets here.

Called by the agent's route and by `GET /v1/boundaries/{b}/usage`. A roll-up is a snapshot: the
highest sequence of its key wins, so that a repeated or reordered push changes nothing.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.errors import ForbiddenError
from controlplane.tables.agents import Agent, UsageRollupRow
from wire.usage import RollupPush


def record_rollups(session: Session, agent: Agent, push: RollupPush) -> int:
    """Store the snapshots of a push; return how many were given.

    Raises: ForbiddenError when a row names another boundary than the agent's.
    """
    for rollup in push.rollups:
        if str(rollup.boundary_id) != str(agent.boundary_id):
            raise ForbiddenError("an agent reports on its own boundary only")
        values = {
            "sequence": rollup.sequence,
            "requests": rollup.requests,
            "input_tokens": rollup.input_tokens,
            "output_tokens": rollup.output_tokens,
            "rollup": rollup.to_wire(),
            "received_at": now(),
        }
        statement = pg_insert(UsageRollupRow).values(
            organization_id=agent.organization_id,
            boundary_id=agent.boundary_id,
            hour_start=rollup.hour_start,
            group_name=rollup.group_id,
            model_version=rollup.model_version,
            adapter=rollup.adapter_id or "",
            feature=rollup.feature.value,
            **values,
        )
        session.execute(
            statement.on_conflict_do_update(
                constraint="uq_usage_rollup_key",
                set_=values,
                where=UsageRollupRow.sequence < rollup.sequence,
            )
        )
    return len(push.rollups)


def list_rollups(session: Session, boundary_id: UUID, limit: int) -> list[UsageRollupRow]:
    """Return a boundary's roll-ups, newest hour first."""
    return list(
        session.scalars(
            select(UsageRollupRow)
            .where(UsageRollupRow.boundary_id == boundary_id)
            .order_by(
                UsageRollupRow.hour_start.desc(),
                UsageRollupRow.group_name,
                UsageRollupRow.model_version,
                UsageRollupRow.adapter,
                UsageRollupRow.feature,
            )
            .limit(limit)
        )
    )
