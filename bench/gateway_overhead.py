"""Measure what the gateway adds to the time to first byte: the same requests direct and through it.

`python -m bench.gateway_overhead --json build/bench/gateway.json` starts a real engine, PostgreSQL
and gateway of its own and ends them. Direct and through requests alternate, so that a busy machine
slows both alike. Three measurements: at a fixed rate (`--rps`), saturated with 16 connections
against the engine, and saturated against a trivial upstream, which shows the gateway's own ceiling.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped] # its stubs are not among our dependencies
from aiohttp import web

from sandbox.models import ensure
from tests.engine.parts import engine_config, start_engine
from tests.gateway.api_server import ApiServer
from tests.gateway.parts import Boundary
from tests.postgres import ServerProcess

BODY = {
    "model": "tiny-coder",
    "messages": [{"role": "user", "content": "Write a test."}],
    "temperature": 0,
    "max_tokens": 8,
    "stream": True,
    "stream_options": {"include_usage": True},
}
CONNECTIONS = 16
Ask = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Way:
    """One way to the engine."""

    name: str
    url: str
    headers: dict[str, str]


def percentile(values: list[float], share: float) -> float:
    """Return a percentile by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(milliseconds: list[float]) -> dict[str, float]:
    """Return count and percentiles of times in milliseconds."""
    found = {f"p{int(s * 100)}_ms": round(percentile(milliseconds, s), 3) for s in (0.5, 0.9, 0.99)}
    return {"requests": len(milliseconds), **found}


async def first_byte(session: aiohttp.ClientSession, way: Way) -> float:
    """Ask once, read the answer to its end, and return the milliseconds to its first byte."""
    started = time.perf_counter()
    url = f"{way.url}/v1/chat/completions"
    async with session.post(url, json=BODY, headers=way.headers) as answer:
        if answer.status != 200:
            raise RuntimeError(f"{way.name}: {answer.status} {await answer.text()}")
        await answer.content.readany()
        took = (time.perf_counter() - started) * 1000
        await answer.read()
    return took


async def at_rate(ways: list[Way], rps: float, seconds: float) -> dict[str, Any]:
    """Send requests at a fixed rate, in turn to each way; return a summary per way."""
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(way: Way) -> None:
            times[way.name].append(await first_byte(session, way))

        for way in ways:
            await first_byte(session, way)
        tasks = []
        begun = time.perf_counter()
        for number in range(int(rps * seconds)):
            due = begun + number / rps * random.uniform(0.999, 1.001)  # noqa: S311 - no secret
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks += [asyncio.create_task(one(ways[number % len(ways)]))]
        await asyncio.gather(*tasks)
    found: dict[str, Any] = {name: summary(taken) for name, taken in times.items()}
    direct, through = (found[way.name] for way in ways)
    found["added"] = {
        key: round(through[key] - direct[key], 3) for key in direct if key.endswith("_ms")
    }
    return found


async def saturated(way: Way, seconds: float) -> dict[str, Any]:
    """Keep 16 connections busy; return requests per second and times."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:

        async def loop() -> None:
            while time.perf_counter() < until:
                times.append(await first_byte(session, way))

        await asyncio.gather(*(loop() for _ in range(CONNECTIONS)))
    return {"rps": round(len(times) / seconds, 1), **summary(times)}


async def trivial_upstream() -> tuple[web.AppRunner, str]:
    """Start an engine that answers at once: two events, usage, end."""
    content = (
        b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
        b"data: [DONE]\n\n"
    )

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=content, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def measure(boundary: Boundary, engine_url: str, options: argparse.Namespace) -> Any:
    """Run all measurements and return the result document."""
    headers = {"Authorization": f"Bearer {boundary.key}"}
    direct, through = Way("direct", engine_url, {}), Way("gateway", boundary.url, headers)
    result: dict[str, Any] = {"at_rate": {"rps": options.rps}}
    result["at_rate"] |= await at_rate([direct, through], options.rps, options.seconds)
    result["saturated_engine"] = {
        way.name: await saturated(way, options.seconds / 2) for way in (direct, through)
    }
    runner, url = await trivial_upstream()
    boundary.publish(url)
    await asyncio.sleep(1)
    assert boundary.process is not None
    gateway = psutil.Process(boundary.process.pid)
    result["saturated_trivial"] = {
        "direct": await saturated(Way("direct", url, {}), options.seconds / 2)
    }
    before = sum(gateway.cpu_times()[:2])
    busy = await saturated(through, options.seconds / 2)
    # Processor time does not depend on who else uses the machine.
    used = (sum(gateway.cpu_times()[:2]) - before) * 1000 / busy["requests"]
    result["saturated_trivial"]["gateway"] = {**busy, "cpu_ms_per_request": round(used, 3)}
    result["gateway_resident_mib"] = round(gateway.memory_info().rss / 2**20, 1)
    await runner.cleanup()
    return result


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start the parts, measure, end the parts."""
    with tempfile.TemporaryDirectory(prefix="rf-bench-") as name:
        folder = Path(name)
        engine = start_engine(folder / "engine", engine_config(ensure(), ()))
        server = ServerProcess()
        postgres = server.start()
        database = postgres.url("postgres", postgres.create_database("postgres"))
        boundary = Boundary(folder, ApiServer(folder / "api"), database)
        try:
            boundary.publish(engine.url)
            boundary.start()
            result = asyncio.run(measure(boundary, engine.url, options))
        finally:
            boundary.close()
            engine.stop()
            server.stop()
    machine = {"python": platform.python_version(), "cores": psutil.cpu_count()}
    machine["load_average"] = [round(load, 2) for load in psutil.getloadavg()]
    return {"benchmark": "gateway_overhead", "machine": machine, **result}


def main() -> int:
    """Parse the options, measure and print or write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway_overhead", description=__doc__)
    parser.add_argument("--rps", type=float, default=50, help="fixed rate over both ways together")
    parser.add_argument("--seconds", type=float, default=20, help="duration at the fixed rate")
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    options = parser.parse_args()
    text = json.dumps(run(options), indent=2)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
