"""Where the API server is and how we prove who we are.

Used by `api`. Separate because the only state here is a token file that the kubelet rewrites. The
official client's loader is not used: importing it costs a second of CPU and 60 MB for forty lines.
"""

from __future__ import annotations

import os
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_REFRESH_SECONDS = 60.0


class ConnectionSettingsError(RuntimeError):
    """The process does not run in a pod, or its service account is not mounted."""


@dataclass
class ClusterConnection:
    """One API server and the bearer token for it."""

    base_url: str
    ca_file: Path
    token_file: Path
    _token: str = field(default="", repr=False)
    _read_at: float = field(default=float("-inf"), repr=False)

    @classmethod
    def in_cluster(cls) -> ClusterConnection:
        """Return the connection of the pod's own service account.

        Raises: ConnectionSettingsError outside a pod.
        """
        host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "")
        if not host or not port:
            raise ConnectionSettingsError(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; run in a pod"
            )
        token, authority = SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt"
        for path in (token, authority):
            if not path.is_file():
                raise ConnectionSettingsError(
                    f"{path} is missing; the pod needs automountServiceAccountToken: true"
                )
        shown = f"[{host}]" if ":" in host else host
        return cls(f"https://{shown}:{port}", authority, token)

    def token(self) -> str:
        """Return the current token; the file is read again every minute, as it is rotated."""
        now = time.monotonic()
        if now - self._read_at > TOKEN_REFRESH_SECONDS:
            self._token = self.token_file.read_text(encoding="utf-8").strip()
            self._read_at = now
        return self._token

    def ssl_context(self) -> ssl.SSLContext:
        """Return a context that trusts the cluster's own authority only."""
        return ssl.create_default_context(cafile=str(self.ca_file))
