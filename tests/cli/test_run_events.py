"""The client's event stream against a real HTTP server that cuts it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ringfence.client import Api, ApiError, Context, WatchTimeoutError, api
from tests.cli.conftest import Cli, write_context

RUN = "01a203db-9f6d-7519-93dc-12117860d63f"


class Script:
    """What the server does: the answers to the stream's requests one after another."""

    def __init__(self, *streams: bytes | int, states: tuple[str, ...] = ("running",)) -> None:
        self.streams = list(streams)
        self.states = list(states)
        self.asked_after: list[int] = []
        self.tokens: set[str] = set()


def event(seq: int, state: str = "running", kind: str = "run.state") -> bytes:
    """Return one event of the stream as the API writes it."""
    data = {"run_id": RUN, "seq": seq, "kind": kind, "step": None, "state": state, "detail": {}}
    data["at"] = f"2026-11-22T15:00:{seq % 60:02d}Z"
    return f"id: {seq}\nevent: run\ndata: {json.dumps(data)}\n\n".encode()


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """Serve a script on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            script.tokens.add(self.headers["Authorization"])
            if self.path.endswith("/events"):
                self._stream()
                return
            state = script.states.pop(0) if len(script.states) > 1 else script.states[0]
            found: dict[str, Any] = {"state": state, "error_message": None, "parked_reason": None}
            body = json.dumps({**found, "plan": {"digest": "sha256:abc"}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self) -> None:
            script.asked_after.append(int(self.headers["Last-Event-ID"]))
            content = script.streams.pop(0) if script.streams else b""
            self.send_response(content if isinstance(content, int) else 200)
            self.send_header("Content-Type", "text/event-stream")
            # More is announced than is sent: the client sees a connection that breaks off.
            cut = isinstance(content, bytes) and bool(script.streams)
            length = 0 if isinstance(content, int) else len(content)
            self.send_header("Content-Length", str(length + (100 if cut else 0)))
            self.end_headers()
            if isinstance(content, bytes):
                self.wfile.write(content)
            self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect at once."""
    monkeypatch.setattr(api, "RECONNECT_SECONDS", 0.01)


def watch(url: str, after: int = 0, timeout: float | None = None) -> list[int]:
    """Return the numbers of all events that a client yields."""
    client = Api(Context(url, "token-of-a-test", "sam@acme.test"))
    return [e["seq"] for e in client.run_events(RUN, after, timeout)]


def test_a_cut_stream_is_taken_up_after_the_last_event_and_nothing_comes_twice() -> None:
    half = event(4)[:40]
    script = Script(
        event(1) + event(2) + event(3) + half,
        # This server replays what was seen already; the client must not yield it again.
        event(2) + event(3) + event(4) + event(5),
        b": ping\n\n" + event(6, "succeeded"),
        states=("succeeded",),
    )
    with serving(script) as url:
        assert watch(url) == [1, 2, 3, 4, 5, 6]
    assert script.asked_after == [0, 3, 5]
    assert script.tokens == {"Bearer token-of-a-test"}


def test_watching_can_begin_after_a_number() -> None:
    script = Script(event(8) + event(9, "succeeded"), states=("succeeded",))
    with serving(script) as url:
        assert watch(url, after=7) == [8, 9]
    assert script.asked_after == [7]


def test_a_stream_that_ends_while_the_run_goes_on_is_taken_up_again() -> None:
    script = Script(event(1), event(2), states=("running", "succeeded"))
    with serving(script) as url:
        assert watch(url) == [1, 2]


def test_an_api_that_restarts_is_waited_for() -> None:
    script = Script(event(1), 503, 502, event(2, "succeeded"), states=("succeeded",))
    with serving(script) as url:
        assert watch(url) == [1, 2]
    assert script.asked_after == [0, 1, 1, 1]


def test_an_api_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "AWAY_SECONDS", 0.1)
    script = Script(*[503] * 200)
    with serving(script) as url, pytest.raises(ApiError, match="does not answer"):
        watch(url)


def test_a_run_that_is_not_visible_is_an_error_at_once() -> None:
    script = Script(404)
    with serving(script) as url, pytest.raises(ApiError) as refused:
        watch(url)
    assert refused.value.status == 404
    assert len(script.asked_after) == 1


def test_a_time_limit_ends_the_watching() -> None:
    with (
        serving(Script(*[event(1)] * 500)) as url,
        pytest.raises(WatchTimeoutError, match="did not end within"),
    ):
        watch(url, timeout=0.2)


@pytest.mark.parametrize(
    ("state", "code", "message"),
    [
        ("succeeded", 0, ""),
        ("failed", 4, f"run {RUN} is failed"),
        ("unwound", 4, f"run {RUN} is unwound"),
        ("stuck", 4, f"run {RUN} is stuck"),
        ("awaiting-approval", 6, f"ringfence run approve {RUN} --digest sha256:abc --as PERSON"),
        ("waiting-for-grant", 6, f"ringfence run retry {RUN}"),
    ],
)
def test_the_end_of_a_watched_run_is_the_exit_code(
    offline: Cli, state: str, code: int, message: str
) -> None:
    script = Script(event(1, "planning") + event(2, state), states=(state,))
    with serving(script) as url:
        write_context(offline.home, url)
        ran = offline("run", "watch", RUN)
    assert ran.code == code
    assert message in ran.err
    assert [line.split()[0] for line in ran.out.splitlines()] == ["15:00:01Z", "15:00:02Z"]


def test_an_old_wait_does_not_end_the_watching(offline: Cli) -> None:
    events = event(1, "awaiting-approval") + event(2, "running") + event(3, "succeeded")
    script = Script(events, states=("running", "succeeded"))
    with serving(script) as url:
        write_context(offline.home, url)
        ran = offline("run", "watch", RUN, "--json")
    assert ran.code == 0
    assert [json.loads(line)["seq"] for line in ran.out.splitlines()] == [1, 2, 3]


def test_a_time_limit_is_exit_code_seven_and_says_that_the_run_goes_on(offline: Cli) -> None:
    with serving(Script(*[event(1)] * 500)) as url:
        write_context(offline.home, url)
        ran = offline("run", "watch", RUN, "--timeout", "1")
    assert ran.code == 7
    assert f"watch again: ringfence run watch {RUN}" in ran.err


def test_ctrl_c_detaches_and_says_how_to_attach_again(
    offline: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Iterator[dict[str, Any]]:
        raise KeyboardInterrupt

    monkeypatch.setattr(Api, "run_events", interrupted)
    write_context(offline.home, "http://127.0.0.1:9")
    ran = offline("run", "watch", RUN)
    assert (ran.code, ran.out) == (130, "")
    assert f"ringfence run watch {RUN}" in ran.err
