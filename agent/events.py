"""Carry single events to the control plane, where the customer lets them out.

Run by `agent.main` on a timer of its own, beside the roll-ups: a control plane that takes no events
must not hold those up. The gateway decides what leaves; the agent only asks after the last cursor
whose page the control plane has committed. A crash in between sends the same page again, whose
duplicates are dropped there.
"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from pathlib import Path

import aiohttp
from pydantic import ValidationError

from agent.control_plane import ControlPlane, ControlPlaneError
from agent.identity import Volume
from wire.usage import EventPush, Export


class EventCarrier:
    """Pulls from one gateway, with the pod's service-account token."""

    def __init__(
        self, gateway_url: str, token_file: Path, control_plane: ControlPlane, volume: Volume
    ) -> None:
        self._url = f"{gateway_url}/internal/v1/events"
        self._token_file = token_file
        self._control_plane = control_plane
        self._volume = volume
        self._told: tuple[Export, datetime | None] | None = None
        """What the customer lets out and since when, as this process has told it."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15))

    async def close(self) -> None:
        await self._session.close()

    async def run_once(self) -> None:
        """Move what is waiting, page by page. Raises: aiohttp.ClientError, ControlPlaneError."""
        while (push := await self._ask()) is not None:
            if not push.events and self._told == (push.export, push.since):
                return
            if not await self._push(push):
                return
            self._told = (push.export, push.since)
            # Without a cursor the old one stays: it names nothing of a later period.
            if push.cursor:
                self._volume.save_event_cursor(push.cursor)

    async def _ask(self) -> EventPush | None:
        """Return the page after the cursor; None from a gateway that knows no events yet."""
        headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        query = {"after": self._volume.event_cursor()}
        async with self._session.post(self._url, params=query, headers=headers) as answer:
            if answer.status == HTTPStatus.NOT_FOUND:
                return None
            answer.raise_for_status()
            try:
                return EventPush.model_validate_json(await answer.read())
            except ValidationError:
                # Without the cause: its text would quote an event into our log.
                raise aiohttp.ClientPayloadError(
                    "the gateway's page of events is not of a version that this agent knows"
                ) from None

    async def _push(self, push: EventPush) -> bool:
        """Return whether the control plane has it. One that knows no events need not know the word.

        Raises: ControlPlaneError when it does not take events: they wait in the boundary.
        """
        try:
            await self._control_plane.push_events(push)
        except ControlPlaneError as error:
            if error.status == HTTPStatus.NOT_FOUND and push.export is not Export.EVENTS:
                return False
            raise
        return True
