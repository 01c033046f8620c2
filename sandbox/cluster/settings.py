"""Settings and paths of one emulated cluster, shared by the processes that make it up.

Written by `start_cluster` to `cluster.json` in the data folder and read by the host-side process,
the supervisor inside the namespace and the node agent. Holds no secret.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sandbox.cluster.errors import ClusterError

NODE_ADDRESS = "10.88.0.1"
AWS_ADDRESS = "10.88.0.10"
CONTROL_PLANE_ADDRESS = "10.88.0.11"
LOAD_BALANCER_ADDRESS = "10.88.0.20"
"""Source of load-balanced connections: network policies apply to it, unlike to the node."""
IDENTITY_ADDRESS = "169.254.170.23"
API_PORT = 6443
KUBELET_PORT = 10250
SERVICE_RANGE = "10.96.0.0/16"
POD_RANGE = "10.88.0.0/19"
MAX_SOCKET_PATH = 107


@dataclass(frozen=True)
class ClusterSettings:
    """What defines a cluster; paths are absolute."""

    name: str
    data_dir: str
    run_dir: str
    gate_socket: str | None = None
    api_socket: str | None = None
    webhook_path: str | None = None
    region: str = "eu-central-1"
    owner_pid: int | None = None

    @property
    def short(self) -> str:
        """A short stable name: socket paths are limited to 107 bytes."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:8]

    @property
    def issuer(self) -> str:
        digest = hashlib.sha256(f"{self.name} {self.data_dir}".encode()).hexdigest()[:32].upper()
        return f"https://oidc.eks.{self.region}.amazonaws.com/id/{digest}"

    @property
    def data(self) -> Path:
        return Path(self.data_dir)

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    @property
    def volatile(self) -> Path:
        """Mounted as tmpfs inside the namespace: projected secrets never reach a disk."""
        return self.data / "volatile"

    def socket(self, kind: str) -> Path:
        """Return the path of a socket: api, net, host, in, lb or task."""
        return Path(self.run_dir) / f"{self.short}.{kind}"

    def write(self) -> None:
        """Create the folders and write `cluster.json`.

        Raises: ClusterError when a socket's path would be too long.
        """
        longest = len(os.fsencode(self.socket("host")))
        if longest > MAX_SOCKET_PATH:
            raise ClusterError(
                f"run_dir {self.run_dir!r} is too long for Unix sockets "
                f"({longest} bytes, limit {MAX_SOCKET_PATH}): choose a shorter folder"
            )
        for folder in (self.data, Path(self.run_dir), self.logs, self.pki, self.volatile):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.data / "cluster.json", json.dumps(asdict(self), indent=1).encode())


def write_private(path: Path, content: bytes) -> None:
    """Write a file readable by its owner only, atomically."""
    stage = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(stage, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
    stage.rename(path)


def read_settings(data_dir: Path) -> ClusterSettings:
    """Read `cluster.json`.

    Raises: ClusterError when the folder holds no cluster.
    """
    path = data_dir / "cluster.json"
    try:
        fields: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise ClusterError(f"{data_dir} holds no cluster: {path.name} is missing") from None
    return ClusterSettings(**fields)
