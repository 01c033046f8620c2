"""The credential broker: gives the engine short sessions while the run's lease is held.

Started by a saga around an engine session; the engine's SDKs ask it by the container-credentials
protocol (docs.aws.amazon.com/sdkref, "Container credential provider"). Separate from `sessions.py`
because it serves another process: a cluster takes longer than a session, so that sessions must be
renewed, and a worker that lost its lease must not get another one.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from controlplane.adapters.aws.sessions import Credentials
from controlplane.adapters.handover import CredentialEndpoint, write_private
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, RingfenceError

RENEW_BEFORE = timedelta(seconds=300)
"""A cached session with less than this left is replaced: no call may outlive its credentials."""

_log = structlog.get_logger(__name__)


class CredentialBroker:
    """A loopback server for one run; use as a context manager."""

    def __init__(
        self,
        renew: Callable[[], Credentials],
        lease_held: Callable[[], bool],
        token_file: Path,
    ) -> None:
        """`renew` assumes the role; `lease_held` is asked before every answer."""
        self._renew = renew
        self._lease_held = lease_held
        self._token_file = token_file
        self._token = secrets.token_urlsafe(32)
        self._cached: Credentials | None = None
        self._lock = threading.Lock()
        broker = self

        class Handler(_Handler):
            owner = broker

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )

    @property
    def endpoint(self) -> CredentialEndpoint:
        """Return what the engine's environment needs."""
        port = self._server.server_address[1]
        return CredentialEndpoint(f"http://127.0.0.1:{port}/", self._token_file)

    def __enter__(self) -> CredentialBroker:
        write_private(self._token_file, self._token)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._token_file.unlink(missing_ok=True)
        self._cached = None

    def credentials(self) -> Credentials:
        """Return credentials for the worker's own calls. Raises: ConflictError `lease-lost`."""
        with self._lock:
            if not self._lease_held():
                self._cached = None
                raise ConflictError("this run is held by another worker", code="lease-lost")
            return self._current()

    def answer(self, authorization: str) -> tuple[HTTPStatus, dict[str, Any]]:
        """Return status and body for one request."""
        if not hmac.compare_digest(authorization.encode(), self._token.encode()):
            return HTTPStatus.UNAUTHORIZED, _refusal("unauthenticated", "wrong token")
        # The lock makes a burst of plugin start-ups one AssumeRole.
        with self._lock:
            if not self._lease_held():
                self._cached = None
                return HTTPStatus.FORBIDDEN, _refusal("lease-lost", "this run is held elsewhere")
            try:
                return HTTPStatus.OK, _document(self._current())
            except RingfenceError as error:
                _log.warning("broker.refused", code=error.stable_code)
                status = HTTPStatus(error.http_status)
                return status, _refusal(error.stable_code, error.public_message)

    def _current(self) -> Credentials:
        cached = self._cached
        if cached is None or cached.expires_at is None or cached.expires_at - now() < RENEW_BEFORE:
            cached = self._renew()
            self._cached = cached
        return cached


class _Handler(BaseHTTPRequestHandler):
    owner: CredentialBroker
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, document = self.owner.answer(self.headers.get("Authorization", ""))
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log: requests carry the token."""


def _document(credentials: Credentials) -> dict[str, Any]:
    assert credentials.expires_at is not None
    return {
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "Token": credentials.session_token,
        "Expiration": credentials.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}
