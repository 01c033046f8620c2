"""One authenticated question to a cluster's API server.

Used by `reach.py` to see that the way in is open, and later that it is shut. Separate from any
client library: the close needs to tell a refused connection from a refused caller, exactly.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from controlplane.adapters.handover import write_private
from controlplane.core.errors import InternalError

_TIMEOUT = 5.0


@dataclass(frozen=True)
class Endpoint:
    """Where a cluster's API server is, and the authority that signed its certificate."""

    url: str
    certificate_authority: str
    """Base64 of the PEM bundle, as EKS gives it."""

    def answer(self, path: str, token: str) -> int | str:
        """Return the status of a GET, or the name of what broke the connection.

        Names: `connection-refused`, `connection-reset`, `timeout`, `tls-failed`, `unreachable`.
        """
        address = urlsplit(self.url)
        host, port = str(address.hostname), address.port or 443
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
            "Accept: application/json\r\nConnection: close\r\n\r\n"
        )
        trust = self._trust()
        try:
            # Straight to the address: a proxy that accepts everything would hide a shut door.
            with _connected(host, port, trust) as secured:
                secured.sendall(request.encode())
                return _status(secured)
        except OSError as error:
            return _name(error)

    def write_kubeconfig(self, path: Path, token: str) -> Path:
        """Write a configuration for one user and one cluster, mode 0600."""
        cluster = {
            "server": self.url,
            "certificate-authority-data": self.certificate_authority,
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "boundary", "cluster": cluster}],
            "users": [{"name": "ringfence", "user": {"token": token}}],
            "contexts": [
                {"name": "boundary", "context": {"cluster": "boundary", "user": "ringfence"}}
            ],
            "current-context": "boundary",
        }
        write_private(path, json.dumps(document))
        return path

    def _trust(self) -> ssl.SSLContext:
        try:
            bundle = base64.b64decode(self.certificate_authority, validate=True).decode("ascii")
            return ssl.create_default_context(cadata=bundle)
        except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
            raise InternalError(
                "the cluster's certificate authority is not base64 of a PEM bundle"
            ) from error


def _connected(host: str, port: int, trust: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection after its handshake, to the first address that gives one.

    The socket is wrapped before it is connected: wrapping one that the peer has reset already
    raises without closing it (CPython's SSLSocket looks at it before it owns it).
    Raises: OSError of the last address.
    """
    failed: OSError | None = None
    for family, kind, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        secured = trust.wrap_socket(socket.socket(family, kind, proto), server_hostname=host)
        try:
            secured.settimeout(_TIMEOUT)
            secured.connect(address)
        except OSError as error:
            secured.close()
            failed = error
        else:
            return secured
    raise failed or OSError(f"{host} has no address")


def _status(secured: ssl.SSLSocket) -> int | str:
    head = b""
    while b"\r\n" not in head:
        chunk = secured.recv(4096)
        if not chunk:
            return "connection-reset"
        head += chunk
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    return int(found.group(1)) if found else "unreachable"


def _name(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection-refused"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls-failed"
    if isinstance(error, TimeoutError):
        return "timeout"
    # Also in the middle of the handshake: an endpoint that takes nobody hangs up.
    if isinstance(error, ConnectionError | ssl.SSLError):
        return "connection-reset"
    return "unreachable"
