"""Node groups and add-ons of EKS clusters.

Called by the EKS service with the state's lock held. A node group is ACTIVE when its scaled time is
over and its nodes are Ready in the real cluster; an add-on is a record, as the sandbox's node agent
does itself what the add-ons do.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import Any

from sandbox.aws.clock import Clock
from sandbox.aws.eks.runtime import Runtime
from sandbox.aws.eks.state import Cluster, State, bad_parameter, in_use, not_found
from sandbox.aws.latencies import Pace
from sandbox.aws.messages import Call
from sandbox.aws.operations.eks import eks_arn

POLL_SECONDS = 0.1
_EFFECTS = {
    "NO_SCHEDULE": "NoSchedule",
    "NO_EXECUTE": "NoExecute",
    "PREFER_NO_SCHEDULE": "PreferNoSchedule",
}
# What an instance type brings beyond CPU and memory.
_ACCELERATORS = {"g5": "nvidia.com/gpu", "g6": "nvidia.com/gpu", "p4d": "nvidia.com/gpu",
                 "p5": "nvidia.com/gpu", "inf2": "aws.amazon.com/neuron",
                 "trn1": "aws.amazon.com/neuron"}  # fmt: skip
log = logging.getLogger("sandbox.aws.eks.nodes")


class Nodes:
    """Node groups and add-ons."""

    def __init__(self, state: State, runtime: Runtime, clock: Clock, pace: Pace) -> None:
        """Take the state and the running clusters."""
        self._state, self._runtime, self._clock, self._pace = state, runtime, clock, pace

    def create_group(self, call: Call) -> dict[str, Any]:
        """Create a node group in an ACTIVE cluster."""
        cluster = self._active(call)
        name = str(call.params.get("nodegroupName", ""))
        if not name or not call.params.get("subnets") or not call.params.get("nodeRole"):
            raise bad_parameter("nodegroupName, subnets and nodeRole are required")
        if name in cluster["nodegroups"]:
            raise in_use(
                f"NodeGroup already exists with name {name} and cluster name {cluster['name']}"
            )
        now = self._clock.now().timestamp()
        scaling = {"minSize": 1, "maxSize": 2, "desiredSize": 2}
        group = {
            "nodegroupName": name, "clusterName": cluster["name"],
            "nodegroupArn": eks_arn(call, "nodegroup", cluster["name"], name, str(uuid.uuid4())),
            "version": cluster["version"], "releaseVersion": f"{cluster['version']}.0-rehearsal",
            "createdAt": now, "modifiedAt": now, "status": "CREATING",
            "capacityType": call.params.get("capacityType", "ON_DEMAND"),
            "scalingConfig": {**scaling, **(call.params.get("scalingConfig") or {})},
            "instanceTypes": call.params.get("instanceTypes") or ["t3.medium"],
            "subnets": call.params["subnets"], "nodeRole": call.params["nodeRole"],
            "amiType": call.params.get("amiType", "AL2023_x86_64_STANDARD"),
            "diskSize": call.params.get("diskSize", 20),
            "labels": call.params.get("labels") or {}, "taints": call.params.get("taints") or [],
            "updateConfig": call.params.get("updateConfig") or {"maxUnavailable": 1},
            "tags": dict(call.params.get("tags") or {}), "health": {"issues": []},
            "joined": False, "doom": call.fate.doom,
            "ready_at": now + self._pace.seconds("nodegroup", name) + call.fate.late,
        }  # fmt: skip
        cluster["nodegroups"][name] = group
        self._state.save()
        self._join(cluster, group)
        return {"nodegroup": _shown(group)}

    def describe_group(self, call: Call) -> dict[str, Any]:
        """Describe a node group; its status follows time and the real nodes."""
        cluster, group = self._group(call)
        return {"nodegroup": _shown(self._observed(cluster, group))}

    def update_group(self, call: Call) -> dict[str, Any]:
        """Change scaling, labels or taints."""
        cluster, group = self._group(call)
        group["scalingConfig"].update(call.params.get("scalingConfig") or {})
        labels = call.params.get("labels") or {}
        group["labels"].update(labels.get("addOrUpdateLabels") or {})
        for key in labels.get("removeLabels") or []:
            group["labels"].pop(key, None)
        group["modifiedAt"] = self._clock.now().timestamp()
        update = {
            "id": str(uuid.uuid4()), "status": "Successful", "type": "ConfigUpdate", "params": [],
            "createdAt": group["modifiedAt"], "errors": [],
        }  # fmt: skip
        cluster["updates"][update["id"]] = update
        self._state.save()
        self._join(cluster, group)
        return {"update": update}

    def delete_group(self, call: Call) -> dict[str, Any]:
        """Delete a node group; its nodes leave at once, the record after the scaled time."""
        cluster, group = self._group(call)
        group["status"] = "DELETING"
        seconds = self._pace.seconds("nodegroup-delete", group["nodegroupName"])
        group["gone_at"] = self._clock.now().timestamp() + seconds
        self._state.save()
        handle = self._runtime.handle(cluster)
        if handle is not None:
            name = group["nodegroupName"]
            threading.Thread(target=handle.remove_nodes, args=(name,), daemon=True).start()
        return {"nodegroup": _shown(group)}

    def list_groups(self, call: Call) -> dict[str, Any]:
        """List node groups."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        return {"nodegroups": sorted(cluster["nodegroups"])}

    def create_addon(self, call: Call) -> dict[str, Any]:
        """Create an add-on."""
        cluster, name = self._active(call), str(call.params.get("addonName", ""))
        if name in cluster["addons"]:
            raise in_use("Addon already exists.")
        now = self._clock.now().timestamp()
        addon = {
            "addonName": name, "clusterName": cluster["name"], "status": "CREATING",
            "addonVersion": call.params.get("addonVersion", "v1.0.0-rehearsal"),
            "addonArn": eks_arn(call, "addon", cluster["name"], name, str(uuid.uuid4())),
            "createdAt": now, "modifiedAt": now, "tags": dict(call.params.get("tags") or {}),
            "health": {"issues": []}, "doom": call.fate.doom,
            "ready_at": now + self._pace.seconds("addon", name) + call.fate.late,
            "configurationValues": call.params.get("configurationValues", ""),
            "serviceAccountRoleArn": call.params.get("serviceAccountRoleArn", ""),
        }  # fmt: skip
        cluster["addons"][name] = addon
        self._state.save()
        return {"addon": _shown(addon)}

    def describe_addon(self, call: Call) -> dict[str, Any]:
        """Describe an add-on."""
        return {"addon": _shown(self._addon(call)[1])}

    def update_addon(self, call: Call) -> dict[str, Any]:
        """Change an add-on's version or values."""
        cluster, addon = self._addon(call)
        for name in ("addonVersion", "configurationValues", "serviceAccountRoleArn"):
            if name in call.params:
                addon[name] = call.params[name]
        addon["modifiedAt"] = self._clock.now().timestamp()
        update = {
            "id": str(uuid.uuid4()), "status": "Successful", "type": "AddonUpdate", "params": [],
            "createdAt": addon["modifiedAt"], "errors": [],
        }  # fmt: skip
        cluster["updates"][update["id"]] = update
        self._state.save()
        return {"update": update}

    def delete_addon(self, call: Call) -> dict[str, Any]:
        """Delete an add-on."""
        cluster, addon = self._addon(call)
        del cluster["addons"][addon["addonName"]]
        self._state.save()
        return {"addon": _shown({**addon, "status": "DELETING"})}

    def list_addons(self, call: Call) -> dict[str, Any]:
        """List add-ons."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        return {"addons": sorted(cluster["addons"])}

    def rejoin(self, cluster: Cluster) -> None:
        """Bring the node groups of a restarted cluster back."""
        for group in cluster["nodegroups"].values():
            if group["status"] != "DELETING":
                self._join(cluster, group)

    def drop_gone(self, cluster: Cluster, now: float) -> bool:
        """Forget node groups whose deletion is over; tell whether any was."""
        gone = [n for n, g in cluster["nodegroups"].items() if g.get("gone_at", now + 1) <= now]
        for name in gone:
            del cluster["nodegroups"][name]
        return bool(gone)

    def _active(self, call: Call) -> Cluster:
        """Find an ACTIVE cluster. Raises AwsError InvalidRequestException."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        if cluster["status"] not in ("ACTIVE", "UPDATING"):
            raise in_use(f"Cluster '{cluster['name']}' is not in ACTIVE status")
        return cluster

    def _group(self, call: Call) -> tuple[Cluster, dict[str, Any]]:
        """Find a node group. Raises AwsError ResourceNotFoundException."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        name = str(call.params["nodegroupName"])
        if name not in cluster["nodegroups"]:
            raise not_found(f"No node group found for name: {name}.")
        return cluster, cluster["nodegroups"][name]

    def _addon(self, call: Call) -> tuple[Cluster, dict[str, Any]]:
        """Find an add-on. Raises AwsError ResourceNotFoundException."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        name = str(call.params["addonName"])
        if name not in cluster["addons"]:
            raise not_found(f"No addon: {name} found in cluster: {cluster['name']}")
        addon = cluster["addons"][name]
        if addon["status"] == "CREATING" and addon["ready_at"] <= self._clock.now().timestamp():
            addon["status"] = "ACTIVE"
            if addon.get("doom"):
                addon["status"] = "CREATE_FAILED"
                issue = {"code": "InternalFailure", "message": addon["doom"], "resourceIds": []}
                addon["health"] = {"issues": [issue]}
            self._state.save()
        return cluster, addon

    def _observed(self, cluster: Cluster, group: dict[str, Any]) -> dict[str, Any]:
        """Bring a node group's status up to date."""
        if group["status"] != "CREATING" or group["ready_at"] > self._clock.now().timestamp():
            return group
        if group.get("doom"):
            self._failed(group, group["doom"])
        elif group["joined"]:
            group["status"] = "ACTIVE"
            self._state.save()
        return group

    def _failed(self, group: dict[str, Any], why: str) -> None:
        """Fail a group that is being created; one that is ACTIVE or leaving keeps its status."""
        if group["status"] == "CREATING":
            group["status"] = "CREATE_FAILED"
            issue = {"code": "NodeCreationFailure", "message": why}
            group["health"] = {"issues": [issue]}
            self._state.save()

    def _join(self, cluster: Cluster, group: dict[str, Any]) -> None:
        """Set the real nodes of a group, in the background; a failure fails the group."""
        handle = self._runtime.handle(cluster)
        if handle is None:
            return
        family = str(group["instanceTypes"][0]).partition(".")[0]
        accelerator = _ACCELERATORS.get(family)
        taints = [
            {"key": one["key"], "value": one.get("value", ""), "effect": _EFFECTS[one["effect"]]}
            for one in group["taints"]
        ]

        wanted = int(group["scalingConfig"]["desiredSize"])
        resources = {accelerator: "1"} if accelerator else {}

        def join() -> None:
            try:
                name = group["nodegroupName"]
                handle.add_nodes(name, wanted, group["labels"], taints, resources)
                # A join, not the emulation's lock, waits for the real nodes.
                while handle.ready_nodes(name) < wanted and group["status"] == "CREATING":
                    time.sleep(POLL_SECONDS)
                with self._state.lock:
                    group["joined"] = True
                    self._state.save()
            except Exception as exc:  # thread edge: the group's status carries the failure
                log.exception("node group %s did not join", group["nodegroupName"])
                with self._state.lock:
                    self._failed(group, str(exc))

        threading.Thread(target=join, daemon=True).start()


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    """Leave out our own bookkeeping."""
    return {k: v for k, v in one.items() if k not in ("ready_at", "gone_at", "joined", "doom")}
