"""A proxy before moto that can hold the answer to one call, or lose the call altogether.

Used to stop an engine exactly between a mutation and the moment it hears of it.
"""

from __future__ import annotations

import http.client
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class SlowAws:
    """Passes everything on; `hold(call)` stops at the named action (`Action=…`)."""

    def __init__(self, upstream: str, *, swallow: bool = False) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._swallow = swallow
        self._call: str | None = None
        self._go = threading.Event()
        self.held = threading.Event()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> SlowAws:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def hold(self, call: str) -> None:
        self._call = call

    def release(self) -> None:
        self._go.set()

    def forward(self, method: str, path: str, headers: Any, body: bytes) -> Any:
        """Pass one request on; returns None when its answer is never to come."""
        hit = self._call is not None and f"Action={self._call}&".encode() in body + b"&"
        if hit and self._swallow:
            self.held.set()
            self._go.wait(60)
            return None
        with closing(http.client.HTTPConnection(self._upstream, timeout=60)) as connection:
            try:
                connection.request(method, path, body, dict(headers.items()))
                answer = connection.getresponse()
                result = answer.status, answer.getheaders(), answer.read()
            except (OSError, http.client.HTTPException):
                return None  # the account is gone: so is the answer
        if hit:
            self.held.set()
            self._go.wait(60)
        return result


class _Handler(BaseHTTPRequestHandler):
    owner: SlowAws
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        result = self.owner.forward(self.command, self.path, self.headers, body)
        if result is None:
            self.close_connection = True
            return
        status, headers, content = result
        try:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass  # noqa: N815 - names http.server calls

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log."""
