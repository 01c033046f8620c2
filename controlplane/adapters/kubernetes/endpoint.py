"""One authenticated question to a cluster's API server.

Used by `reach.py` to see that the way in is open, and later that it is shut. Separate from any
client library: the close needs to tell a refused connection from a refused caller, exactly.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
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
        # Straight to the address: a proxy that accepts every connection would hide a shut door.
        connection = http.client.HTTPSConnection(
            str(address.hostname), address.port or 443, timeout=_TIMEOUT, context=self._trust()
        )
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException) as error:
            return _name(error)
        finally:
            connection.close()

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


def _name(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection-refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError | http.client.RemoteDisconnected):
        return "connection-reset"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls-failed"
    if isinstance(error, TimeoutError | socket.timeout):
        return "timeout"
    if isinstance(error, ssl.SSLError):
        # The other side hung up in the middle of the handshake: an endpoint that takes nobody.
        return "connection-reset"
    return "unreachable"
