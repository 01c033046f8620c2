"""A small TCP proxy between a worker and PostgreSQL or Redis, which can cut and swallow.

A cut resets every connection. A hole accepts and forwards nothing in one direction or both, until
it is healed, which resets what was caught in it. An armed commit is let through or held back, and
in both cases its answer never comes: the outcome is unknown to the worker.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Literal

Direction = Literal["out", "in", "both"]
"""`out`: what the worker sends is lost; `in`: what it should receive."""
RESET = struct.pack("ii", 1, 0)
COMMIT = b"COMMIT"


@dataclass(eq=False)
class _Pair:
    client: socket.socket
    server: socket.socket
    cuts_at_answer: bool = False
    """A commit went through; the connection ends instead of its answer."""

    def close(self) -> None:
        for side in (self.client, self.server):
            with contextlib.suppress(OSError):
                # A reset and not a polite end, as a lost connection gives.
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            side.close()


class Proxy:
    """Forwards one loopback port to another, in a thread of its own."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, _Pair] = {}
        self._hole: Direction | None = None
        self._armed: list[Literal["before", "after"]] = []
        self.commits_cut = 0
        self._open = True
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            for pair in set(self._pairs.values()):
                self._drop(pair)

    def swallow(self, direction: Direction) -> None:
        """Open a hole."""
        self._hole = direction

    def heal(self) -> None:
        """Close the hole and reset what was caught in it."""
        if self._hole is not None:
            self._hole = None
            self.cut()

    def arm_commit(self, when: Literal["before", "after"]) -> None:
        """Cut the next commit, before or after the server has done it."""
        self._armed.append(when)

    def disarm(self) -> None:
        """Cut no commit any more."""
        self._armed.clear()

    def close(self) -> None:
        """End everything."""
        self._open = False
        self._thread.join()
        self.cut()
        self._selector.close()
        self._listener.close()

    def _loop(self) -> None:
        while self._open:
            for key, _ in self._selector.select(timeout=0.1):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif isinstance(key.fileobj, socket.socket):
                        self._pump(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._upstream), timeout=2)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        pair = _Pair(client, server)
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs[side] = pair
            self._selector.register(side, selectors.EVENT_READ)

    def _pump(self, source: socket.socket) -> None:
        pair = self._pairs.get(source)
        if pair is None:
            return
        try:
            data = source.recv(65_536)
        except OSError:
            data = b""
        if not data:
            self._drop(pair)
            return
        is_out = source is pair.client
        if self._hole == "both" or self._hole == ("out" if is_out else "in"):
            return
        if pair.cuts_at_answer and not is_out:
            self._drop(pair)
            return
        if is_out and self._armed and COMMIT in data:
            self.commits_cut += 1
            if self._armed.pop(0) == "before":
                self._drop(pair)
                return
            pair.cuts_at_answer = True
        try:
            (pair.server if is_out else pair.client).sendall(data)
        except OSError:
            self._drop(pair)

    def _drop(self, pair: _Pair) -> None:
        for side in (pair.client, pair.server):
            if self._pairs.pop(side, None) is not None:
                self._selector.unregister(side)
        pair.close()
