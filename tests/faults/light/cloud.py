"""The way from a worker process to the harness: calls of the cloud, and taps at engine points.

`CloudServer` runs in the harness, a connection per calling thread. Before and after each call it
tells a hook where the caller stands; the hook may kill or freeze the caller before the answer is
sent, so that a fault hits exactly that point. `Line` is the caller's side.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.light.ledger import Ledger, RefusedError

HOOKED = frozenset({"assume", "create", "delete"})
LINE_SECONDS = 20.0


class NoAnswerError(Exception):
    """The connection ended before an answer: whether it was done is unknown."""


@dataclass(frozen=True)
class Point:
    """Where a worker stands: `before:step_started`, `inside:step_finished`, `done:create` …"""

    name: str
    run: str
    key: str
    pid: int


Hook = Callable[[Point], None]


class CloudServer:
    """Answers for one ledger on a loopback port."""

    def __init__(self, ledger: Ledger, hook: Hook) -> None:
        self.ledger = ledger
        self.hook = hook
        self.gate = threading.Lock()
        """Held while a run is made known: calls wait for it."""
        cloud = self

        class Handler(_Handler):
            owner = cloud

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Carry out one request; None means that its answer is lost."""
        with self.gate:
            pass  # a run that is just being made known
        at = (request["run"], request["key"], int(request["pid"]))
        if request["op"] == "tap":
            self.hook(Point(request["name"], *at))
            return {}
        is_effect = request["op"] in HOOKED
        if is_effect:
            self.hook(Point(f"call:{request['op']}", *at))
        try:
            reply = self.ledger.call(request)
        except RefusedError as error:
            return {"error": str(error)}
        if is_effect:
            self.hook(Point(f"done:{request['op']}", *at))
            if self.ledger.loses_reply(request):
                return None
        return reply


class _Handler(socketserver.StreamRequestHandler):
    owner: CloudServer

    def handle(self) -> None:
        try:
            for line in self.rfile:
                reply = self.owner.answer(json.loads(line))
                if reply is None:
                    return
                self.wfile.write(json.dumps(reply).encode() + b"\n")
        except OSError:
            return  # the caller died


class Line:
    """A worker's connections to the harness, one per thread."""

    def __init__(self, port: int, worker: str) -> None:
        self._port = port
        self._worker = worker
        self._local = threading.local()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and return its answer. Raises: NoAnswerError, RefusedError."""
        message = {"pid": os.getpid(), "worker": self._worker, **request}
        try:
            stream = self._stream()
            stream.write(json.dumps(message).encode() + b"\n")
            stream.flush()
            line = stream.readline()
        except OSError as error:
            self._local.stream = None
            raise NoAnswerError(type(error).__name__) from error
        if not line:
            self._local.stream = None
            raise NoAnswerError("closed")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise RefusedError(reply["error"])
        return reply

    def tap(self, name: str, run: str, key: str = "") -> None:
        """Tell where this worker stands; returns once the harness lets it go on."""
        self.ask(op="tap", name=name, run=run, key=key)

    def _stream(self) -> Any:
        stream = getattr(self._local, "stream", None)
        if stream is None:
            connection = socket.create_connection(("127.0.0.1", self._port), LINE_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = connection.makefile("rwb")
            connection.close()  # the stream keeps it open
            self._local.stream = stream
        return stream
