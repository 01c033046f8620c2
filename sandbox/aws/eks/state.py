"""The clusters of all accounts as one JSON file, and errors of EKS.

Shared by the parts of EKS; every change is written before its call is answered.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sandbox.aws.errors import AwsError
from sandbox.aws.files import read_json, write_json
from sandbox.aws.messages import Call

Cluster = dict[str, Any]


def not_found(text: str) -> AwsError:
    """Make EKS's error for a missing resource."""
    return AwsError("ResourceNotFoundException", text, 404)


def in_use(text: str) -> AwsError:
    """Make EKS's error for a resource that exists or is busy."""
    return AwsError("ResourceInUseException", text, 409)


def bad_parameter(text: str) -> AwsError:
    """Make EKS's error for a bad parameter."""
    return AwsError("InvalidParameterException", text, 400)


class State:
    """Clusters by `account/region/name`; hold `lock` around every read-change-save."""

    def __init__(self, data_dir: Path) -> None:
        """Load `eks.json`."""
        self._file = data_dir / "eks.json"
        self.clusters: dict[str, Cluster] = read_json(self._file, {})
        self.lock = threading.RLock()

    def save(self) -> None:
        """Write everything."""
        write_json(self._file, self.clusters)

    def get(self, call: Call, name: str) -> Cluster:
        """Find a cluster of the caller. Raises AwsError ResourceNotFoundException."""
        found = self.clusters.get(f"{call.account}/{call.region}/{name}")
        if found is None:
            raise not_found(f"No cluster found for name: {name}.")
        return found

    def by_runtime_name(self, name: str) -> Cluster | None:
        """Find a cluster by the name its own processes know it by."""
        for cluster in self.clusters.values():
            if cluster["runtime_name"] == name:
                return cluster
        return None

    def new_runtime_name(self, account: str, name: str) -> str:
        """Choose a name for a cluster's processes; accounts may use one name twice."""
        return name if self.by_runtime_name(name) is None else f"{name}-{account}"
