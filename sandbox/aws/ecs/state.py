"""Clusters, task definitions and tasks of all accounts as one JSON file, and errors of ECS.

Shared by the parts of ECS; every change is written before its call is answered.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sandbox.aws.errors import AwsError
from sandbox.aws.files import read_json, write_json
from sandbox.aws.messages import Call
from sandbox.aws.operations.ecs import short_name

Record = dict[str, Any]
_EMPTY: dict[str, Record] = {"clusters": {}, "definitions": {}, "tasks": {}}


def bad_parameter(text: str) -> AwsError:
    """Make ECS's error for a bad parameter."""
    return AwsError("InvalidParameterException", text, 400)


def client_error(text: str) -> AwsError:
    """Make ECS's error for something that cannot be done."""
    return AwsError("ClientException", text, 400)


class State:
    """Records by ARN; hold `lock` around every read-change-save."""

    def __init__(self, data_dir: Path) -> None:
        """Load `ecs.json`."""
        self._file = data_dir / "ecs.json"
        loaded = {**_EMPTY, **read_json(self._file, {})}
        self.clusters: dict[str, Record] = dict(loaded["clusters"])
        self.definitions: dict[str, Record] = dict(loaded["definitions"])
        self.tasks: dict[str, Record] = dict(loaded["tasks"])
        self.lock = threading.RLock()

    def save(self) -> None:
        """Write everything."""
        content = {
            "clusters": self.clusters,
            "definitions": self.definitions,
            "tasks": self.tasks,
        }
        write_json(self._file, content)

    def cluster(self, call: Call, given: Any) -> Record:
        """Find an active cluster. Raises: AwsError ClusterNotFoundException."""
        name = short_name(given)
        for one in self.clusters.values():
            place = (one["account"], one["region"], one["clusterName"])
            if place == (call.account, call.region, name) and one["status"] == "ACTIVE":
                return one
        raise AwsError("ClusterNotFoundException", "Cluster not found.", 400)

    def definition(self, call: Call, given: Any) -> Record:
        """Find a definition by ARN, `family:revision`, or a family's newest active one.

        Raises: AwsError ClientException.
        """
        text = short_name(given)
        family, _, revision = text.partition(":")
        found = [
            one
            for one in self.definitions.values()
            if (one["account"], one["region"], one["family"]) == (call.account, call.region, family)
            and (str(one["revision"]) == revision or (not revision and one["status"] == "ACTIVE"))
        ]
        if not found:
            raise client_error("Unable to describe task definition.")
        return max(found, key=lambda one: int(one["revision"]))

    def tasks_in(self, cluster: Record) -> list[Record]:
        """List the tasks of a cluster."""
        return [one for one in self.tasks.values() if one["clusterArn"] == cluster["clusterArn"]]
