"""Reading usage from streams, and faults of an engine in the middle of one."""

from __future__ import annotations

import asyncio
import threading

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


class FaultyEngine:
    """An engine that sends its chunks and then cuts the connection (or hangs)."""

    def __init__(self, chunks: list[bytes], status: int = 200, *, hang: bool = False) -> None:
        self.chunks, self.status, self.hang = chunks, status, hang
        self.asked = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        headers = {"Content-Type": "text/event-stream"}
        response = web.StreamResponse(status=self.status, headers=headers)
        await response.prepare(request)
        for chunk in self.chunks:
            await response.write(chunk)
        if self.hang:
            await asyncio.sleep(30)
        assert request.transport is not None
        request.transport.close()
        return response

    async def _start(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    def __enter__(self) -> FaultyEngine:
        self._thread.start()
        self._runner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(5)
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def asked_through(self, boundary: Boundary) -> httpx2.Response:
        """Return the first answer that this engine had a part in."""
        boundary.publish(self.url)

        def ask() -> httpx2.Response | None:
            answer = boundary.chat("tiny-coder", stream=True)
            return answer if self.asked else None

        answer = until(ask)
        assert isinstance(answer, httpx2.Response)
        return answer


def test_a_stream_cut_after_its_first_byte_ends_with_a_typed_error(
    shared: Boundary,
) -> None:
    with FaultyEngine([TOKEN, TOKEN]) as engine:
        answer = engine.asked_through(shared)
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text
    assert '"code":"engine_error"' in answer.text
    assert shared.event_of(answer) == ("tiny-coder", "upstream_error", 2)


def test_a_stream_cut_before_its_first_byte_is_a_plain_502(shared: Boundary) -> None:
    with FaultyEngine([]) as engine:
        answer = engine.asked_through(shared)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_error")


@pytest.mark.parametrize(("chunks", "status"), [([], 504), ([TOKEN], 200)])
def test_an_engine_that_stalls_is_a_timeout(
    shared: Boundary, chunks: list[bytes], status: int
) -> None:
    with FaultyEngine(chunks, hang=True) as engine:
        answer = engine.asked_through(shared)
    assert answer.status_code == status
    assert '"code":"engine_timeout"' in answer.text
    assert shared.event_of(answer)[1:] == ("upstream_timeout", len(chunks))


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
    shared: Boundary, chunk: bytes, status: int, expected: int
) -> None:
    with FaultyEngine([chunk], status) as engine:
        answer = engine.asked_through(shared)
    assert answer.status_code == expected
    assert answer.json()["error"]["type"] == "server_error"
    assert "CANARY" not in answer.text
