"""A small blocking administrator's client of a cluster's API server.

Called by the supervisor (over TCP inside the namespace) and by the host (over the Unix socket).
Separate from every product client: it uses the sandbox administrator's certificate, which no part
of the product has.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from pathlib import Path
from typing import Any

from sandbox.cluster.errors import ClusterError


class _Connection(http.client.HTTPSConnection):
    """HTTPS over a Unix socket or TCP; the server's certificate is checked for `kubernetes`."""

    def __init__(self, target: Path | tuple[str, int], context: ssl.SSLContext, timeout: float):
        super().__init__("kubernetes", context=context, timeout=timeout)
        self._target = target
        self._tls = context

    def connect(self) -> None:
        if isinstance(self._target, tuple):
            plain = socket.create_connection(self._target, self.timeout)
        else:
            plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            plain.settimeout(self.timeout)
            plain.connect(str(self._target))
        self.sock = self._tls.wrap_socket(plain, server_hostname="kubernetes")


class AdminClient:
    """Requests as `kubernetes-admin`; one connection per request."""

    def __init__(self, pki: Path, target: Path | tuple[str, int]) -> None:
        self._target = target
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def send(
        self, method: str, path: str, body: Any = None, *, timeout: float = 10.0
    ) -> tuple[int, bytes]:
        """Send one request and return status and body.

        Raises: OSError when the server cannot be reached.
        """
        connection = _Connection(self._target, self._context, timeout)
        kind = "application/json"
        if method == "PATCH":
            kind = "application/merge-patch+json"
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": kind})
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the API server broke the connection: {error!r}") from error
        finally:
            connection.close()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return the decoded answer.

        Raises: ClusterError with the server's message for any status of 400 or more.
        """
        status, raw = self.send(method, path, body)
        answer = json.loads(raw) if raw[:1] in (b"{", b"[") else raw.decode(errors="replace")
        if status >= 400:
            message = answer.get("message") if isinstance(answer, dict) else answer
            raise ClusterError(f"{method} {path}: {status} {message}")
        return answer

    def ready(self) -> bool:
        """Tell whether the API server says that it is ready."""
        try:
            return self.send("GET", "/readyz", timeout=3)[0] == 200
        except (OSError, ssl.SSLError):
            return False
