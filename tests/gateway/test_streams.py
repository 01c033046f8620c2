"""Reading usage from streams, and faults of an engine in the middle of one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from gateway.sse import BrokenStreamError, EventSplitter, StreamMeter
from tests.gateway.parts import Boundary, until

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
TOKEN = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


@given(st.lists(st.integers(1, 40), min_size=1))
def test_events_are_the_same_however_the_bytes_are_cut(sizes: list[int]) -> None:
    stream = (TOKEN + USAGE + DONE).replace(b"\n", b"\r\n") + TOKEN
    splitter, position = EventSplitter(), 0
    events: list[bytes] = []
    while position < len(stream):
        size = sizes[len(events) % len(sizes)]
        events += splitter.feed(stream[position : position + size])
        position += size
    assert events == [TOKEN, USAGE, DONE, TOKEN]


def test_an_answer_that_speaks_of_usage_is_not_taken_for_it() -> None:
    meter = StreamMeter(pass_usage=False)
    event = b'data: {"choices":[{"delta":{"content":"{\\"usage\\":{\\"prompt_tokens\\":9}}"}}]}\n\n'
    assert meter.see(event)
    assert not meter.counted().reported
    assert meter.counted().output_tokens == 1


@pytest.mark.parametrize(
    "usage", ["7", '{"prompt_tokens":-1,"completion_tokens":2}', '{"prompt_tokens":1}', '"x"']
)
def test_usage_that_makes_no_sense_is_a_broken_stream(usage: str) -> None:
    with pytest.raises(BrokenStreamError):
        StreamMeter(pass_usage=True).see(f'data: {{"usage":{usage}}}\n\n'.encode())


@contextmanager
def faulty_engine(chunks: list[bytes], status: int = 200, *, hang: bool = False) -> Iterator[str]:
    """An engine that sends these chunks and then cuts the connection (or hangs)."""
    loop = asyncio.new_event_loop()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if hang:
            await asyncio.sleep(30)
        assert request.transport is not None
        request.transport.close()
        return response

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(5)
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def streamed(boundary: Boundary, engine_url: str) -> httpx2.Response:
    boundary.publish(engine_url)
    if boundary.process is None:
        boundary.start(GATEWAY_IDLE_SECONDS="0.5")
    return boundary.chat("tiny-coder", stream=True)


def test_a_stream_cut_after_its_first_byte_ends_with_a_typed_error(
    bare_boundary: Boundary,
) -> None:
    with faulty_engine([TOKEN, TOKEN]) as url:
        answer = streamed(bare_boundary, url)
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text
    assert '"code":"engine_error"' in answer.text
    (event,) = bare_boundary.events(1)
    assert (event[1], event[3]) == ("upstream_error", 2)


def test_a_stream_cut_before_its_first_byte_is_a_plain_502(bare_boundary: Boundary) -> None:
    with faulty_engine([]) as url:
        answer = streamed(bare_boundary, url)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_error")


def test_an_engine_that_stalls_is_a_timeout(bare_boundary: Boundary) -> None:
    with faulty_engine([], hang=True) as url:
        before = streamed(bare_boundary, url)
    assert (before.status_code, before.json()["error"]["code"]) == (504, "engine_timeout")
    with faulty_engine([TOKEN], hang=True) as url:
        bare_boundary.publish(url)
        until(lambda: "engine_timeout" in bare_boundary.chat("tiny-coder", stream=True).text)
    assert {e[1] for e in bare_boundary.events(2)} <= {"upstream_timeout", "upstream_unreachable"}


@pytest.mark.parametrize(
    ("chunk", "status", "expected"),
    [
        (b'data: {"usage": broken\n\n', 200, 502),
        (b'data: {"error":{"message":"CANARY"}}\n\n', 200, 502),
        (b'{"error":{"message":"CANARY"}}', 500, 502),
        (b'{"error":{"message":"busy"}}', 429, 503),
        (b'{"error":{"message":"unknown adapter"}}', 404, 503),
        (b"", 302, 502),
    ],
)
def test_a_bad_answer_of_the_engine_becomes_a_typed_error_without_its_text(
    bare_boundary: Boundary, chunk: bytes, status: int, expected: int
) -> None:
    with faulty_engine([chunk], status) as url:
        answer = streamed(bare_boundary, url)
    assert answer.status_code == expected
    assert answer.json()["error"]["type"] == "server_error"
    assert "CANARY" not in answer.text
