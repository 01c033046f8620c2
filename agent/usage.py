"""Carry roll-ups from the boundary's gateway to the control plane.

Run by `agent.main` on a timer. What comes this way are aggregates only; single events, where the
customer lets them out, have a way of their own (`agent.events`). The cursor moves after the control
plane has committed: a crash in between sends the same rows again, which are idempotent.
"""

from __future__ import annotations

from pathlib import Path

import aiohttp
from pydantic import ValidationError

from agent.control_plane import ControlPlane
from agent.identity import Volume
from wire.usage import Export, RollupPush


class UsageCarrier:
    """Pulls from one gateway, with the pod's service-account token."""

    def __init__(
        self, gateway_url: str, token_file: Path, control_plane: ControlPlane, volume: Volume
    ) -> None:
        self._gateway_url = gateway_url
        self._token_file = token_file
        self._control_plane = control_plane
        self._volume = volume
        self._told: Export | None = None
        """What the boundary lets out, as the control plane heard it from this process."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))

    async def close(self) -> None:
        await self._session.close()

    async def run_once(self) -> None:
        """Move what is new. Raises: aiohttp.ClientError, ControlPlaneError."""
        progress = self._volume.progress()
        url = f"{self._gateway_url}/internal/v1/rollups?after={progress.rollup_cursor}"
        headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        async with self._session.get(url, headers=headers) as answer:
            answer.raise_for_status()
            try:
                push = RollupPush.model_validate_json(await answer.read())
            except ValidationError:
                # A gateway ahead of its agent: try again later, so that the other loops go on.
                raise aiohttp.ClientPayloadError(
                    "the gateway's page of roll-ups is not of a version that this agent knows"
                ) from None
        if push.export is self._told and not push.hours and not push.days:
            return
        await self._control_plane.push_usage(push.to_wire())
        self._told = push.export
        # Read again: another loop may have written its own part meanwhile.
        latest = self._volume.progress()
        self._volume.save_progress(latest.model_copy(update={"rollup_cursor": push.sequence}))
