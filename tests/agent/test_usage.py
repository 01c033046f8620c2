"""The agent carries what the gateway lets out: once, in order, and the word `none` once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web

from agent.control_plane import ControlPlane, ControlPlaneError
from agent.identity import Volume
from agent.usage import UsageCarrier
from wire.agent import EnrolResponse
from wire.usage import DayBucket, Export, RollupPush

NOBODY = UUID(int=1)


def bucket(sequence: int) -> DayBucket:
    return DayBucket(
        boundary_id="b",
        sequence=sequence,
        as_of=datetime.now(UTC),
        is_final=False,
        day=datetime.now(UTC).date(),
        shown_ms=750,
        events_rejected=0,
        rows=(),
        people=(),
    )


class World:
    """A gateway that lets out what a test says, and a control plane that keeps what comes."""

    def __init__(self) -> None:
        self.push = RollupPush(sequence=0)
        self.unknown = False
        self.asked: list[int] = []
        self.came: list[RollupPush] = []
        self.away = False

    async def rollups(self, request: web.Request) -> web.Response:
        self.asked.append(int(request.query["after"]))
        if self.unknown:
            return web.json_response({"version": 99})
        return web.json_response(self.push.to_wire())

    async def usage(self, request: web.Request) -> web.Response:
        if self.away:
            return web.json_response({"error": {"code": "unavailable"}}, status=503)
        self.came.append(RollupPush.from_wire(await request.json()))
        return web.Response(status=204)

    async def run(self, folder: Path, steps: Any) -> None:
        """Serve both sides and let `steps` drive a carrier."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/internal/v1/rollups", self.rollups),
                web.post("/agent/v1/usage", self.usage),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        volume = Volume(folder / "volume")
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
        token = folder / "token"
        token.write_text("token")
        carrier = UsageCarrier(url, token, control_plane, volume)
        try:
            await steps(carrier)
        finally:
            await carrier.close()
            await control_plane.close()
            await runner.cleanup()


def test_a_day_without_requests_is_carried_and_asked_for_no_more(tmp_path: Path) -> None:
    world = World()

    async def steps(carrier: UsageCarrier) -> None:
        world.push = RollupPush(days=(bucket(7),), sequence=7)
        await carrier.run_once()
        world.push = RollupPush(sequence=7)
        await carrier.run_once()

    asyncio.run(world.run(tmp_path, steps))
    assert world.asked == [0, 7]
    assert [[day.sequence for day in push.days] for push in world.came] == [[7]]


def test_what_was_not_committed_outside_is_carried_again(tmp_path: Path) -> None:
    world = World()

    async def steps(carrier: UsageCarrier) -> None:
        world.push = RollupPush(days=(bucket(3),), sequence=3)
        world.away = True
        with pytest.raises(ControlPlaneError):
            await carrier.run_once()
        world.away = False
        await carrier.run_once()

    asyncio.run(world.run(tmp_path, steps))
    assert world.asked == [0, 0]
    assert len(world.came) == 1


def test_the_word_none_is_told_once_and_moves_nothing(tmp_path: Path) -> None:
    world = World()

    async def steps(carrier: UsageCarrier) -> None:
        world.push = RollupPush(export=Export.NONE, sequence=0)
        for _ in range(3):
            await carrier.run_once()
        world.push = RollupPush(days=(bucket(5),), sequence=5)
        await carrier.run_once()

    asyncio.run(world.run(tmp_path, steps))
    assert [push.export for push in world.came] == [Export.NONE, Export.AGGREGATE]
    assert world.asked == [0, 0, 0, 0]


def test_a_page_of_an_unknown_version_ends_no_loop_and_is_asked_for_again(tmp_path: Path) -> None:
    world = World()

    async def steps(carrier: UsageCarrier) -> None:
        world.unknown = True
        with pytest.raises(aiohttp.ClientError, match="not of a version"):
            await carrier.run_once()
        world.unknown = False
        world.push = RollupPush(days=(bucket(5),), sequence=5)
        await carrier.run_once()

    asyncio.run(world.run(tmp_path, steps))
    assert world.asked == [0, 0]
    assert [day.sequence for push in world.came for day in push.days] == [5]
