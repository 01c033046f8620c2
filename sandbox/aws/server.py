"""The HTTP server of the account: threads, TCP on loopback and a unix socket, one handler.

Apart from the gate so that the gate can be tested and read without sockets. Raw targets are kept,
because signatures are made over them.
"""

from __future__ import annotations

import logging
import os
import socket
import socketserver
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from sandbox.aws.messages import Request, Response

Handle = Callable[[Request], Response]
MAX_BODY = 256 * 1024 * 1024
log = logging.getLogger("sandbox.aws.server")


class _Handler(BaseHTTPRequestHandler):
    """Read one request, hand it to the gate, write the answer; connections stay open."""

    protocol_version = "HTTP/1.1"
    server_version = "rehearsal-account"
    sys_version = ""
    timeout = 120
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        """Answer one request of any method."""
        body = self._read_body()
        if body is None:
            self.send_error(413, "the body is larger than 256 MiB")
            self.close_connection = True
            return
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]},{value}" if key in headers else value
        peer = self.client_address[0] if isinstance(self.client_address, tuple) else ""
        request = Request(self.command, self.path, headers, body, peer or "127.0.0.1")
        handle: Handle = self.server.handle  # type: ignore[attr-defined]  # set by our servers
        response = handle(request)
        self._write(response)

    def _read_body(self) -> bytes | None:
        """Read the body by length or by chunks; None where it is too large."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks()
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length) if length <= MAX_BODY else None

    def _read_chunks(self) -> bytes | None:
        """Read a chunked body."""
        parts: list[bytes] = []
        total = 0
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            total += size
            if total > MAX_BODY:
                return None
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue
        return b"".join(parts)

    def _write(self, response: Response) -> None:
        """Write status, headers and body; a lost answer cuts the connection instead."""
        if response.lost:
            self.close_connection = True
            return
        bodiless = self.command == "HEAD" or response.status in (204, 304)
        self.send_response(response.status)
        for name, value in response.headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        length = response.headers.get("Content-Length") if bodiless else None
        if response.status not in (204, 304):
            self.send_header("Content-Length", length or str(len(response.body)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(response.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = _serve  # noqa: N815 (names set by http.server)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: a request line may hold a presigned token."""

    def address_string(self) -> str:
        """Name the peer; a unix socket has none."""
        return str(self.client_address)


class _UnixHandler(_Handler):
    """The same on a unix socket, which knows no Nagle."""

    disable_nagle_algorithm = False


class TcpServer(ThreadingHTTPServer):
    """Serve on 127.0.0.1."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, handle: Handle) -> None:
        """Bind a port (0 takes a free one)."""
        self.handle = handle
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a fault without its request."""
        log.exception("connection failed")


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serve on a unix socket, for clusters that cannot reach the host's loopback."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, path: Path, handle: Handle) -> None:
        """Bind a path, replacing a dead socket there; only the owner may connect."""
        path.unlink(missing_ok=True)
        self.handle = handle
        old = os.umask(0o177)
        try:
            super().__init__(str(path), _UnixHandler)
        finally:
            os.umask(old)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Give the peer an address that the handler can print."""
        connection, _ = super().get_request()
        return connection, ("", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a fault without its request."""
        log.exception("connection failed")
