"""Observe the boundary and push its status when it changed.

Run by `agent.main` on a timer; nudged by `agent.desired` after each bundle.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from agent.control_plane import ControlPlane
from agent.identity import Volume
from agent.kubernetes import Kubernetes
from agent.status import gather, summarise
from wire.agent import AgentStatus
from wire.bundle import Refusal

AT_LEAST_EVERY = timedelta(seconds=30)


class Observer:
    """Remembers only what it pushed last, to stay silent while nothing changes."""

    def __init__(
        self,
        control_plane: ControlPlane,
        kubernetes: Kubernetes,
        volume: Volume,
        namespace: str,
        boundary: str,
    ) -> None:
        self._control_plane = control_plane
        self._kubernetes = kubernetes
        self._volume = volume
        self._namespace = namespace
        self._boundary = boundary
        self._pushed: dict[str, Any] | None = None
        self._pushed_at = datetime.min.replace(tzinfo=UTC)
        self.refused: Refusal | None = None
        """Why the newest bundle or verb was not accepted."""

    async def observe(self) -> AgentStatus:
        """Return the boundary's status now."""
        resources = await gather(self._kubernetes, self._namespace, self._boundary)
        applied = self._volume.progress().applied_sequence
        return summarise(resources, applied, self.refused, datetime.now(UTC))

    async def push(self) -> None:
        """Push the status if it differs from the last one, or if that is 30 s old."""
        status = await self.observe()
        content = status.model_dump(exclude={"observed_at"})
        if content == self._pushed and status.observed_at - self._pushed_at < AT_LEAST_EVERY:
            return
        await self._control_plane.push_status(status)
        self._pushed, self._pushed_at = content, status.observed_at
