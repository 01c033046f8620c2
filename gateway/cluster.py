"""Talk to the Kubernetes API server as the pod's own service account.

Used by `watch` (list and watch) and by `internal` (TokenReview). Separate because it is the only
code that holds the pod's token. Plain aiohttp: four kinds of request need no client library.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ClusterError(RuntimeError):
    """The API server cannot be used; the message names what is missing or what it answered."""


@dataclass(frozen=True)
class ClusterAddress:
    """Where the API server is and how to prove who we are."""

    url: str
    token_file: Path
    ca_file: Path | None
    """None only for a plain http address, which is a test's."""


def in_cluster(environment: Mapping[str, str] | None = None) -> ClusterAddress:
    """Return the address every pod is given. Raises: ClusterError outside a pod.

    `KUBERNETES_SERVICEACCOUNT_DIR` names the mount where it is not at its usual place.
    """
    source = os.environ if environment is None else environment
    host, port = source.get("KUBERNETES_SERVICE_HOST"), source.get("KUBERNETES_SERVICE_PORT")
    folder = Path(source.get("KUBERNETES_SERVICEACCOUNT_DIR", str(SERVICE_ACCOUNT)))
    if not host or not port:
        raise ClusterError(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: run inside a pod"
        )
    for name in ("token", "ca.crt"):
        if not (folder / name).is_file():
            raise ClusterError(f"{folder / name} is missing: mount the service account's token")
    shown = f"[{host}]" if ":" in host else host
    return ClusterAddress(f"https://{shown}:{port}", folder / "token", folder / "ca.crt")


class Cluster:
    """A session with the API server; open it inside the event loop."""

    def __init__(self, address: ClusterAddress) -> None:
        self._address = address
        context: ssl.SSLContext | bool = True
        if address.ca_file is not None:
            context = ssl.create_default_context(cafile=str(address.ca_file))
        self._session = aiohttp.ClientSession(
            address.url,
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(total=30, sock_connect=5),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _headers(self) -> dict[str, str]:
        # Read every time: a projected token is replaced before it expires.
        return {"Authorization": f"Bearer {self._address.token_file.read_text().strip()}"}

    def get(
        self, path: str, params: Mapping[str, str], timeout: aiohttp.ClientTimeout | None = None
    ) -> Any:
        """Return the context manager of a GET."""
        patience = timeout or self._session.timeout
        return self._session.get(path, params=params, headers=self._headers(), timeout=patience)

    async def reviewed_user(self, token: str) -> str | None:
        """Return the user a token belongs to, or None when it is not valid (TokenReview).

        Raises: ClusterError when the API server does not answer the question.
        """
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        try:
            async with self._session.post(path, json=review, headers=self._headers()) as answer:
                if answer.status != 201:
                    raise ClusterError(
                        f"TokenReview was answered {answer.status}: the gateway's service account "
                        "needs `create` on tokenreviews (ClusterRole system:auth-delegator)"
                    )
                body = await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ClusterError(f"TokenReview: {type(error).__name__}") from error
        status = body.get("status") or {}
        if not status.get("authenticated"):
            return None
        return str((status.get("user") or {}).get("username", ""))
