"""EKS operations on clusters, and the dispatch to node groups, add-ons and access.

Called by the gate. A cluster is CREATING for its scaled time and until its real API server answers.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import uuid
from collections.abc import Callable
from typing import Any

from sandbox.aws.clock import Clock
from sandbox.aws.config import GateConfig
from sandbox.aws.eks.access import Access
from sandbox.aws.eks.endpoint import may_enter
from sandbox.aws.eks.nodes import Nodes
from sandbox.aws.eks.pages import ClusterPages
from sandbox.aws.eks.runtime import Runtime, Starter, real_starter
from sandbox.aws.eks.state import Cluster, State, bad_parameter, in_use, not_found
from sandbox.aws.eks.tags import Tags
from sandbox.aws.eks.vpc import check_endpoint, vpc_config
from sandbox.aws.errors import AwsError
from sandbox.aws.keys import KeyStore
from sandbox.aws.messages import Call, Response
from sandbox.aws.operations.eks import eks_arn

VERSIONS = ("1.32", "1.33", "1.34")
DEFAULT_VERSION = "1.34"
TICK_SECONDS = 0.05
WATCH_SECONDS = 2.0
log = logging.getLogger("sandbox.aws.eks")


class Eks:
    """Clusters, and everything that hangs on them."""

    def __init__(
        self, config: GateConfig, clock: Clock, keys: KeyStore, starter: Starter | None = None
    ) -> None:
        """Load the clusters; `start` brings their processes back."""
        self._clock = clock
        self._pace = config.pace
        self.state = State(config.data_dir)
        self.runtime = Runtime(config, starter or real_starter(config), self._started)
        self.pages = ClusterPages(self.state, clock, keys, config.port)
        self._access = Access(self.state, clock)
        self._nodes = Nodes(self.state, self.runtime, clock, self._pace)
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="eks", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="eks-watch", daemon=True)
        self._rejoined: set[str] = set()
        self._operations = self._table()

    def tags_of(self, account: str, arn: str) -> dict[str, str] | None:
        """Return the tags of a cluster or a part of one, for the decision who may touch it."""
        with self.state.lock:
            return Tags(self.state).of(account, arn)

    def _table(self) -> dict[str, Callable[[Call], dict[str, Any]]]:
        """Name the operations."""
        access, nodes, tags = self._access, self._nodes, Tags(self.state)
        return {
            "CreateCluster": self._create, "DescribeCluster": self._describe,
            "ListClusters": self._list, "DeleteCluster": self._delete,
            "UpdateClusterConfig": self._update, "UpdateClusterVersion": self._update_version,
            "DescribeUpdate": self._describe_update, "ListUpdates": self._list_updates,
            "TagResource": tags.tag, "UntagResource": tags.untag,
            "ListTagsForResource": tags.show,
            "CreateNodegroup": nodes.create_group, "DescribeNodegroup": nodes.describe_group,
            "UpdateNodegroupConfig": nodes.update_group, "DeleteNodegroup": nodes.delete_group,
            "ListNodegroups": nodes.list_groups, "CreateAddon": nodes.create_addon,
            "DescribeAddon": nodes.describe_addon, "UpdateAddon": nodes.update_addon,
            "DeleteAddon": nodes.delete_addon, "ListAddons": nodes.list_addons,
            "CreateAccessEntry": access.create_entry, "DescribeAccessEntry": access.describe_entry,
            "UpdateAccessEntry": access.update_entry, "DeleteAccessEntry": access.delete_entry,
            "ListAccessEntries": access.list_entries,
            "AssociateAccessPolicy": access.associate_policy,
            "DisassociateAccessPolicy": access.disassociate_policy,
            "ListAssociatedAccessPolicies": access.list_policies,
            "CreatePodIdentityAssociation": access.create_association,
            "DescribePodIdentityAssociation": access.describe_association,
            "UpdatePodIdentityAssociation": access.update_association,
            "DeletePodIdentityAssociation": access.delete_association,
            "ListPodIdentityAssociations": access.list_associations,
            "DescribeClusterVersions": self._versions,
        }  # fmt: skip

    def handle(self, call: Call) -> Response:
        """Answer one operation."""
        run = self._operations.get(call.operation)
        if run is None:
            raise AwsError("InvalidRequestException", f"{call.operation} is not modelled yet", 400)
        with self.state.lock:
            self._settle()
            body = json.dumps(run(call)).encode()
        return Response(200, {"Content-Type": "application/json"}, body)

    def start(self) -> None:
        """Start the clusters that exist, and the clock of their changes."""
        with self.state.lock:
            for cluster in self.state.clusters.values():
                if cluster["status"] != "DELETING":
                    self._begin(cluster)
        self._ticker.start()
        self._watcher.start()

    def stop(self) -> None:
        """Stop every cluster; data stays."""
        self._stop.set()
        for thread in (self._ticker, self._watcher):
            if thread.is_alive():
                thread.join()
        self.runtime.stop_all(list(self.state.clusters.values()))

    def summary(self) -> list[dict[str, Any]]:
        """List clusters with account, status and whether their processes run."""
        with self.state.lock:
            return [
                {
                    "account": one["account"],
                    "name": one["name"],
                    "status": one["status"],
                    "running": self.runtime.handle(one) is not None,
                }
                for one in self.state.clusters.values()
            ]

    def _create(self, call: Call) -> dict[str, Any]:
        """Create a cluster and begin starting it."""
        name = str(call.params.get("name", ""))
        if f"{call.account}/{call.region}/{name}" in self.state.clusters:
            raise in_use(f"Cluster already exists with name: {name}")
        version = str(call.params.get("version", DEFAULT_VERSION))
        if version not in VERSIONS:
            raise bad_parameter(f"unsupported Kubernetes version {version}")
        access = {
            "authenticationMode": "CONFIG_MAP",
            "bootstrapClusterCreatorAdminPermissions": True,
        }
        access.update(call.params.get("accessConfig") or {})
        if access["authenticationMode"] == "CONFIG_MAP":
            raise bad_parameter("the rehearsal account models authenticationMode API only")
        now = self._clock.now().timestamp()
        cluster: Cluster = {
            "name": name, "account": call.account, "region": call.region,
            "runtime_name": self.state.new_runtime_name(call.account, name),
            "arn": eks_arn(call, "cluster", name), "version": version,
            "platformVersion": "eks.1", "id": str(uuid.uuid4()), "status": "CREATING",
            "roleArn": str(call.params.get("roleArn", "")), "createdAt": now,
            "vpc": vpc_config(call, call.params.get("resourcesVpcConfig") or {}),
            "accessConfig": access, "encryptionConfig": call.params.get("encryptionConfig") or [],
            "logging": call.params.get("logging") or {"clusterLogging": []},
            "kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.96.0.0/16", "ipFamily": "ipv4"},
            "upgradePolicy": call.params.get("upgradePolicy") or {"supportType": "EXTENDED"},
            "tags": dict(call.params.get("tags") or {}), "updates": {}, "nodegroups": {},
            "addons": {}, "entries": {}, "associations": {}, "ca": "", "issuer": "", "port": 0,
            "ready_at": now + self._pace.seconds("cluster", name) + call.fate.late,
            "doom": call.fate.doom, "gone_at": 0.0, "failure": "",
        }  # fmt: skip
        if access["bootstrapClusterCreatorAdminPermissions"] and call.caller.kind == "session":
            entry = self._access.entry(cluster, call, call.caller.role_arn)
            policy = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
            entry["policies"][policy] = {"policyArn": policy, "accessScope": {"type": "cluster"}}
            cluster["entries"][call.caller.role_arn] = entry
        self.state.clusters[f"{call.account}/{call.region}/{name}"] = cluster
        self.state.save()
        self._begin(cluster)
        return {"cluster": _shown(cluster)}

    def _describe(self, call: Call) -> dict[str, Any]:
        """Describe a cluster."""
        return {"cluster": _shown(self.state.get(call, str(call.params["name"])))}

    def _list(self, call: Call) -> dict[str, Any]:
        """List the caller's clusters."""
        place = (call.account, call.region)
        found = self.state.clusters.values()
        return {
            "clusters": sorted(c["name"] for c in found if (c["account"], c["region"]) == place)
        }

    def _delete(self, call: Call) -> dict[str, Any]:
        """Delete a cluster without node groups; its processes end at once."""
        cluster = self.state.get(call, str(call.params["name"]))
        if cluster["nodegroups"]:
            raise in_use("Cluster has nodegroups attached")
        if cluster["status"] != "DELETING":
            cluster["status"] = "DELETING"
            seconds = self._pace.seconds("cluster-delete", cluster["name"])
            cluster["gone_at"] = self._clock.now().timestamp() + seconds
            self.state.save()
        return {"cluster": _shown(cluster)}

    def _update(self, call: Call) -> dict[str, Any]:
        """Change endpoint access (after the scaled time), or logging (at once)."""
        cluster = self.state.get(call, str(call.params["name"]))
        if cluster["status"] != "ACTIVE":
            raise in_use(f"Cluster is in {cluster['status']} status, wait for it to be ACTIVE")
        wanted = call.params.get("resourcesVpcConfig")
        seconds, effect = 0.0, {}
        if wanted:
            kind, seconds = (
                "EndpointAccessUpdate",
                self._pace.seconds("endpoint-access", cluster["name"]),
            )
            names = ("endpointPublicAccess", "endpointPrivateAccess", "publicAccessCidrs")
            unknown = set(wanted) - set(names)
            if unknown:
                raise bad_parameter(f"resourcesVpcConfig: {sorted(unknown)} cannot be updated here")
            effect = {name: wanted[name] for name in names if wanted.get(name) is not None}
            changed = {**cluster["vpc"], **effect}
            if changed == cluster["vpc"]:
                raise bad_parameter("Cluster is already at the desired configuration")
            check_endpoint(changed)
        elif call.params.get("logging"):
            kind = "LoggingUpdate"
            cluster["logging"] = call.params["logging"]
        else:
            raise bad_parameter("The rehearsal account updates endpoint access and logging only")
        return {"update": _shown(self._add_update(cluster, kind, seconds, effect))}

    def _update_version(self, call: Call) -> dict[str, Any]:
        """Refuse: the sandbox has one Kubernetes build."""
        cluster = self.state.get(call, str(call.params["name"]))
        raise bad_parameter(f"{cluster['name']}: version updates are not modelled yet")

    def _add_update(
        self, cluster: Cluster, kind: str, seconds: float, effect: dict[str, Any]
    ) -> dict[str, Any]:
        """Record an update that takes effect after some seconds."""
        now = self._clock.now().timestamp()
        update = {
            "id": str(uuid.uuid4()), "status": "InProgress", "type": kind, "createdAt": now,
            "params": [{"type": k, "value": json.dumps(v)} for k, v in effect.items()],
            "errors": [], "effect": effect, "ready_at": now + seconds,
        }  # fmt: skip
        cluster["updates"][update["id"]] = update
        cluster["status"] = "UPDATING"
        self.state.save()
        return update

    def _describe_update(self, call: Call) -> dict[str, Any]:
        """Describe an update."""
        cluster = self.state.get(call, str(call.params["name"]))
        update = cluster["updates"].get(str(call.params.get("updateId", "")))
        if update is None:
            raise not_found(f"No update found for ID {call.params.get('updateId')}")
        return {"update": _shown(update)}

    def _list_updates(self, call: Call) -> dict[str, Any]:
        """List updates."""
        return {"updateIds": list(self.state.get(call, str(call.params["name"]))["updates"])}

    def _versions(self, call: Call) -> dict[str, Any]:
        """List Kubernetes versions."""
        return {
            "clusterVersions": [
                {
                    "clusterVersion": one,
                    "defaultVersion": one == DEFAULT_VERSION,
                    "clusterType": "eks",
                }
                for one in VERSIONS
            ]
        }

    def _begin(self, cluster: Cluster) -> None:
        """Start a cluster's processes in the background."""

        def allows(peer: str) -> bool:
            vpc = cluster["vpc"]
            return may_enter(peer, vpc["endpointPublicAccess"], vpc["publicAccessCidrs"])

        self.runtime.begin(cluster, allows)

    def _started(self) -> None:
        """Keep what a start found out; called from its thread."""
        with self.state.lock:
            self.state.save()

    def _tick(self) -> None:
        """Let time pass: statuses, endpoint changes, deletions."""
        while not self._stop.wait(TICK_SECONDS):
            with self.state.lock:
                gone = self._settle()
            for cluster in gone:
                self.runtime.end(cluster, remove_data=True)

    def _watch(self) -> None:
        """Start a cluster again whose processes ended by themselves."""
        while not self._stop.wait(WATCH_SECONDS):
            with self.state.lock:
                expected = [
                    cluster
                    for cluster in self.state.clusters.values()
                    if cluster["status"] in ("ACTIVE", "UPDATING")
                ]
            for cluster in expected:
                if self.runtime.gone(cluster):
                    log.warning("cluster %s ended; it is started again", cluster["runtime_name"])
                    with self.state.lock:
                        self._rejoined.discard(cluster["runtime_name"])
                        if cluster["status"] != "DELETING":
                            self._begin(cluster)

    def _settle(self) -> list[Cluster]:
        """Bring every cluster up to the present; give those whose processes must end."""
        now, changed, ended = self._clock.now().timestamp(), False, []
        for key, cluster in list(self.state.clusters.items()):
            changed |= self._settle_one(cluster, now)
            if cluster["status"] == "DELETING" and not cluster.get("ended"):
                cluster["ended"] = changed = True
                ended.append(cluster)
            if cluster["status"] == "DELETING" and cluster["gone_at"] <= now:
                del self.state.clusters[key]
                changed = True
        if changed:
            self.state.save()
        if ended and threading.current_thread() is not self._ticker:
            for cluster in ended:
                threading.Thread(
                    target=self.runtime.end, args=(cluster,), kwargs={"remove_data": True}
                ).start()
            return []
        return ended

    def _settle_one(self, cluster: Cluster, now: float) -> bool:
        """Bring one cluster up to the present; tell whether anything changed."""
        changed = self._nodes.drop_gone(cluster, now)
        name = cluster["runtime_name"]
        handle = self.runtime.handle(cluster)
        if handle is not None and name not in self._rejoined:
            self._rejoined.add(name)
            self._nodes.rejoin(cluster)
        if cluster["status"] == "CREATING" and name in self.runtime.failures:
            cluster["status"], cluster["failure"] = "FAILED", self.runtime.failures[name]
            changed = True
        if cluster["status"] == "CREATING" and cluster.get("doom") and cluster["ready_at"] <= now:
            cluster["status"], cluster["failure"] = "FAILED", cluster["doom"]
            changed = True
        if cluster["status"] == "CREATING" and cluster["ready_at"] <= now and handle is not None:
            cluster["status"] = "ACTIVE"
            changed = True
        for update in cluster["updates"].values():
            if update["status"] == "InProgress" and update["ready_at"] <= now:
                cluster["vpc"].update(update["effect"])
                update["status"], cluster["status"] = "Successful", "ACTIVE"
                self.runtime.enforce(cluster)
                changed = True
        return changed


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    """Write a cluster or update as EKS shows it."""
    if "vpc" not in one:
        return {k: v for k, v in one.items() if k not in ("effect", "ready_at")}
    names = (
        "name", "arn", "createdAt", "version", "roleArn", "accessConfig", "encryptionConfig",
        "logging", "kubernetesNetworkConfig", "status", "platformVersion", "tags", "id",
        "upgradePolicy",
    )  # fmt: skip
    shown = {name: one[name] for name in names}
    shown["resourcesVpcConfig"] = one["vpc"]
    shown["health"] = {"issues": []}
    if one["failure"]:
        issue = {"code": "InternalFailure", "message": one["failure"], "resourceIds": []}
        shown["health"] = {"issues": [issue]}
    if one["status"] not in ("CREATING", "FAILED"):
        shown["endpoint"] = f"https://127.0.0.1:{one['port']}"
        shown["certificateAuthority"] = {"data": base64.b64encode(one["ca"].encode()).decode()}
        shown["identity"] = {"oidc": {"issuer": one["issuer"]}}
    return shown
