"""The agent carries events: each page until it is committed outside, whatever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web

from agent.control_plane import ControlPlane, ControlPlaneError
from agent.events import EventCarrier
from agent.identity import Progress, Volume
from wire.agent import EnrolResponse
from wire.usage import EventPush, Export, RecordedShown, Shown, uuid7

NOBODY = UUID(int=1)
SINCE = datetime(2026, 11, 1, tzinfo=UTC)
PERIOD = "00000000-0000-4000-8000-000000000001"
Steps = Callable[[EventCarrier], Awaitable[None]]


def event() -> RecordedShown:
    return RecordedShown(
        id=uuid7(),
        time=datetime.now(UTC),
        source="/boundaries/b/gateway",
        boundary_id="b",
        group_id="payments-engineers",
        subject="0" * 64,
        data=Shown(
            change_id=uuid7(),
            lines_suggested_add=1,
            lines_suggested_del=0,
            files=1,
            visible_ms=800,
        ),
    )


class DiedError(Exception):
    """The agent died before it wrote its cursor down."""


class DyingVolume(Volume):
    """A volume that is gone at the moment at which the cursor is written."""

    def save_event_cursor(self, cursor: str) -> None:
        raise DiedError


class World:
    """A gateway with events in order, and a control plane that keeps what comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.export = Export.EVENTS
        self.events = [event() for _ in range(5)]
        self.asked: list[str] = []
        self.came: list[EventPush] = []
        self.refuse: int | None = None
        self.gateway_knows = True
        self.garbled = False

    async def give(self, request: web.Request) -> web.Response:
        """Give two events after the cursor."""
        if not self.gateway_knows:
            raise web.HTTPNotFound
        assert request.headers["Authorization"] == "Bearer token"
        after = request.query["after"]
        self.asked.append(after)
        if self.garbled:
            return web.json_response({"version": 9, "canary": "CANARY7f3a"})
        if self.export is not Export.EVENTS:
            return web.json_response(EventPush(export=self.export).to_wire())
        first = int(after.partition(":")[2] or 0)
        page = tuple(self.events[first : first + 2])
        push = EventPush(
            export=self.export, since=SINCE, events=page, cursor=f"{PERIOD}:{first + len(page)}"
        )
        return web.json_response(push.to_wire())

    async def take(self, request: web.Request) -> web.Response:
        """Keep a page, or refuse it."""
        if self.refuse is not None:
            return web.json_response({"error": {"code": "refused"}}, status=self.refuse)
        self.came.append(EventPush.from_wire(await request.json()))
        return web.Response(status=204)

    def run(self, steps: Steps, volume_of: type[Volume] = Volume) -> None:
        """Let `steps` drive a new carrier, as after a start of the agent."""
        asyncio.run(self._run(steps, volume_of))

    async def _run(self, steps: Steps, volume_of: type[Volume]) -> None:
        app = web.Application()
        app.add_routes(
            [
                web.post("/internal/v1/events", self.give),
                web.post("/agent/v1/usage-events", self.take),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        volume = volume_of(self.folder / "volume")
        control_plane = ControlPlane(url, volume.key())
        control_plane.use(
            EnrolResponse(
                agent_id=NOBODY,
                organization_id=NOBODY,
                boundary_id=NOBODY,
                boundary_name="payments",
                control_plane_public_key="",
                poll_seconds=1,
            )
        )
        token = self.folder / "token"
        token.write_text("token")
        carrier = EventCarrier(url, token, control_plane, volume)
        try:
            await steps(carrier)
        finally:
            await carrier.close()
            await control_plane.close()
            await runner.cleanup()

    @property
    def ids(self) -> list[UUID]:
        """Return the ids of what came, in order."""
        return [each.id for push in self.came for each in push.events]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def once(carrier: EventCarrier) -> None:
    await carrier.run_once()


def test_all_pages_are_carried_in_order_and_the_last_one_is_acknowledged(world: World) -> None:
    world.run(once)
    assert world.ids == [each.id for each in world.events]
    assert world.asked == ["", f"{PERIOD}:2", f"{PERIOD}:4", f"{PERIOD}:5"]
    # A later start of the agent goes on where it was, and says once what leaves.
    world.events.append(event())
    world.run(once)
    assert world.ids == [each.id for each in world.events]


def test_what_was_not_committed_outside_is_not_acknowledged(world: World) -> None:
    async def steps(carrier: EventCarrier) -> None:
        world.refuse = 503
        with pytest.raises(ControlPlaneError):
            await carrier.run_once()
        world.refuse = None
        await carrier.run_once()

    world.run(steps)
    assert world.asked[:2] == ["", ""]
    assert world.ids == [each.id for each in world.events]


def test_an_agent_that_dies_between_push_and_acknowledgement_sends_the_page_again(
    world: World,
) -> None:
    async def dies(carrier: EventCarrier) -> None:
        with pytest.raises(DiedError):
            await carrier.run_once()

    world.run(dies, DyingVolume)
    assert world.ids == [each.id for each in world.events[:2]]
    world.run(once)
    sent = [each.id for each in world.events]
    assert world.ids == [*sent[:2], *sent]


def test_a_control_plane_that_knows_no_events_loses_none(world: World) -> None:
    async def steps(carrier: EventCarrier) -> None:
        world.refuse = 404
        for _ in range(2):
            with pytest.raises(ControlPlaneError):
                await carrier.run_once()
        assert world.asked == ["", ""]
        world.refuse = None
        await carrier.run_once()

    world.run(steps)
    assert world.ids == [each.id for each in world.events]


@pytest.mark.parametrize("word", [Export.NONE, Export.AGGREGATE])
def test_another_word_is_told_once_and_a_control_plane_that_knows_no_events_need_not_know(
    word: Export, world: World
) -> None:
    async def steps(carrier: EventCarrier) -> None:
        world.export = word
        world.refuse = 404
        await carrier.run_once()
        world.refuse = None
        for _ in range(3):
            await carrier.run_once()

    world.run(steps)
    assert [(push.export, push.events) for push in world.came] == [(word, ())]


def test_the_word_that_ends_it_is_told_and_what_follows_is_carried(world: World) -> None:
    async def steps(carrier: EventCarrier) -> None:
        await carrier.run_once()
        world.export = Export.AGGREGATE
        await carrier.run_once()
        await carrier.run_once()
        world.export = Export.EVENTS
        world.events.append(event())
        await carrier.run_once()

    world.run(steps)
    words = [push.export for push in world.came]
    assert words == [*[Export.EVENTS] * 3, Export.AGGREGATE, Export.EVENTS]
    assert world.ids == [each.id for each in world.events]


def test_a_gateway_that_knows_no_events_is_not_an_error(world: World) -> None:
    world.gateway_knows = False
    world.run(once)
    assert world.came == []


def test_a_page_of_an_unknown_version_is_tried_again_and_not_quoted(world: World) -> None:
    async def steps(carrier: EventCarrier) -> None:
        world.garbled = True
        with pytest.raises(aiohttp.ClientError) as caught:
            await carrier.run_once()
        assert "CANARY" not in str(caught.value)
        assert caught.value.__cause__ is None
        world.garbled = False
        await carrier.run_once()

    world.run(steps)
    assert world.ids == [each.id for each in world.events]


def test_the_cursor_is_no_field_that_the_version_before_would_refuse(tmp_path: Path) -> None:
    volume = Volume(tmp_path)
    volume.save_progress(Progress(applied_sequence=3, rollup_cursor=7))
    volume.save_event_cursor(f"{PERIOD}:12")
    written: dict[str, Any] = Progress.model_validate_json(
        (tmp_path / "progress.json").read_text()
    ).model_dump()
    assert written == {"applied_sequence": 3, "rollup_cursor": 7}
    assert Volume(tmp_path).event_cursor() == f"{PERIOD}:12"
