"""The public endpoint of a cluster: a TCP listener that lets in who EKS would let in.

One per cluster. It checks public access and the peer's address at each connection, forwards raw
TLS to the cluster's unix socket, and cuts live connections when their access ends.
"""

from __future__ import annotations

import ipaddress
import logging
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

Allows = Callable[[str], bool]
log = logging.getLogger("sandbox.aws.eks.endpoint")


def may_enter(peer: str, public: bool, cidrs: list[str]) -> bool:
    """Tell whether a peer may use the public endpoint."""
    address = ipaddress.ip_address(peer)
    return public and any(address in ipaddress.ip_network(one, strict=False) for one in cidrs)


class Endpoint:
    """Listen on 127.0.0.1 and forward to a unix socket."""

    def __init__(self, port: int, target: Path, allows: Allows) -> None:
        """Bind the port; 0 or a taken one gives a free port."""
        self._target, self._allows = target, allows
        self._live: dict[socket.socket, tuple[str, socket.socket]] = {}
        self._lock = threading.Lock()
        self._listener = _bind(port)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name=f"endpoint-{self.port}", daemon=True).start()

    def close(self) -> None:
        """Stop listening and cut everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.enforce(force=True)

    def enforce(self, *, force: bool = False) -> int:
        """Cut live connections whose peer may no longer enter; give their number."""
        with self._lock:
            cut = [
                (client, server)
                for client, (peer, server) in self._live.items()
                if force or not self._allows(peer)
            ]
        for client, server in cut:
            for one in (client, server):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        return len(cut)

    def _accept(self) -> None:
        """Take connections until closed."""
        while True:
            try:
                client, (peer, _) = self._listener.accept()
            except OSError:
                return
            if not self._allows(peer):
                _reset(client)
                continue
            threading.Thread(target=self._forward, args=(client, peer), daemon=True).start()

    def _forward(self, client: socket.socket, peer: str) -> None:
        """Copy both ways until one side ends."""
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.connect(str(self._target))
        except OSError:
            _reset(client)
            server.close()
            return
        with self._lock:
            self._live[client] = (peer, server)
        try:
            # Access may have ended between accept and this line.
            if self._allows(peer):
                _pump(client, server)
        finally:
            with self._lock:
                self._live.pop(client, None)
            client.close()
            server.close()


def _bind(port: int) -> socket.socket:
    """Bind the port, or a free one where it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def _reset(client: socket.socket) -> None:
    """End a connection with a reset, as a firewall would."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Copy bytes both ways; a half-closed side is passed on."""
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while selector.get_map():
            for key, _ in selector.select():
                source, target = key.fileobj, key.data
                assert isinstance(source, socket.socket)
                try:
                    data = source.recv(65536)
                    target.sendall(data)
                except OSError:
                    return
                if not data:
                    selector.unregister(source)
                    with suppress(OSError):
                        target.shutdown(socket.SHUT_WR)
