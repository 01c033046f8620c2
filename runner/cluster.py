"""The runner's way to an API server: one question, and a kubeconfig for helm.

Used by `runner.work`. No client library: whether the cluster refuses the caller or the connection
is what the end of our access is proven with, so the two must be told apart exactly.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import json
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from wire.runner import ClusterAddress

# Each needs a known caller with a right: `/readyz` answers anybody, so it would prove nothing.
QUESTION = "/api/v1/namespaces?limit=1"
QUESTION_INSIDE = "/api/v1/namespaces/{}/pods?limit=1"
TIMEOUT_SECONDS = 10.0


class BadAuthorityError(ValueError):
    """The certificate authority of an order is not base64 of a PEM bundle."""


def ask(cluster: ClusterAddress, token: str, namespace: str | None = None) -> int | str:
    """Return the status of the question, or the name of what broke the connection.

    Names: `connection-refused`, `connection-reset`, `timeout`, `tls-failed`, `unreachable`.
    Raises: BadAuthorityError.
    """
    connection = connect(cluster)
    try:
        question = QUESTION_INSIDE.format(namespace) if namespace else QUESTION
        connection.request("GET", question, headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return _name(error)
    finally:
        connection.close()


def connect(cluster: ClusterAddress) -> http.client.HTTPSConnection:
    """Return a connection that trusts the cluster's own authority. Raises: BadAuthorityError."""
    address = urlsplit(cluster.endpoint)
    return http.client.HTTPSConnection(
        str(address.hostname), address.port or 443, timeout=TIMEOUT_SECONDS, context=_trust(cluster)
    )


def write_kubeconfig(path: Path, cluster: ClusterAddress, token: str) -> None:
    """Write a configuration for one user and one cluster, 0600 from its first byte."""
    known = {
        "server": cluster.endpoint,
        "certificate-authority-data": cluster.certificate_authority,
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "boundary", "cluster": known}],
        "users": [{"name": "runner", "user": {"token": token}}],
        "contexts": [{"name": "boundary", "context": {"cluster": "boundary", "user": "runner"}}],
        "current-context": "boundary",
    }
    write_private(path, json.dumps(document).encode())


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _trust(cluster: ClusterAddress) -> ssl.SSLContext:
    try:
        bundle = base64.b64decode(cluster.certificate_authority, validate=True).decode("ascii")
        return ssl.create_default_context(cadata=bundle)
    except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
        raise BadAuthorityError("certificate_authority is not base64 of a PEM bundle") from error


def _name(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection-refused"
    if isinstance(error, ssl.SSLCertVerificationError):
        return "tls-failed"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionError | ssl.SSLError | http.client.HTTPException):
        return "connection-reset"
    return "unreachable"
