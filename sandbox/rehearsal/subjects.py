"""What a rehearsal changes with the kit, and what the account must show afterwards.

Used by `sandbox.rehearsal.alone`. Separate because an install with a cluster of its own and a guest
in another's differ in nothing else: the first leaves the account empty of it, the second must also
leave its host as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from sandbox.rehearsal.errors import AloneError

Clients = Callable[[str], Any]
"""Gives a client of the copied account, with the customer's own keys."""
CHANGED_NODES = 3
OPENNESS = "EndpointAccessUpdate"
"""EKS's word for a change of who may reach a cluster's endpoint."""
OWN_BOUND = "ringfence-rehearsal-bound"
"""A policy of the customer that replaces the one of the vendor's template."""


class Subject(Protocol):
    """An install that is taken over."""

    def change(self) -> list[str]:
        """Return the input that the update changes, as the kit's script takes it."""
        ...

    def require_changed(self) -> None:
        """See that the account shows it. Raises: AloneError."""
        ...

    def left(self) -> list[str]:
        """Return everything of the install that the account still shows."""
        ...

    def require_others_untouched(self) -> str:
        """See that what is not of the install is as it was; say so. Raises: AloneError."""
        ...


class OwnCluster:
    """An install that has the account's network and cluster for itself."""

    def __init__(self, task: dict[str, Any], clients: Clients) -> None:
        self._task = task
        self._clients = clients
        self._before = self._nodes()

    def change(self) -> list[str]:
        """Change the number of nodes."""
        return ["--set", f"node_count={CHANGED_NODES}"]

    def require_changed(self) -> None:
        """See that there are as many nodes as asked for, and were not before."""
        after = self._nodes()
        if after != CHANGED_NODES or self._before == after:
            raise AloneError(f"update: the account shows {after} nodes, before {self._before}")

    def require_shut(self, principal: str) -> str:
        """See no entry of the customer's, and an endpoint as the vendor left it; say so.

        Raises: AloneError.
        """
        eks, name = self._clients("eks"), self._task["cluster"]
        vpc = eks.describe_cluster(name=name)["cluster"]["resourcesVpcConfig"]
        entries = eks.list_access_entries(clusterName=name)["accessEntries"]
        ids = eks.list_updates(name=name)["updateIds"]
        changes = [
            one
            for one in ids
            if eks.describe_update(name=name, updateId=one)["update"]["type"] == OPENNESS
        ]
        if vpc["endpointPublicAccess"] or principal in entries:
            raise AloneError(f"{name}: public {vpc['endpointPublicAccess']}, entries {entries}")
        if self._task["reach"] == "in-vpc-runner" and changes:
            raise AloneError(f"{name}: its endpoint's access was changed: {', '.join(changes)}")
        return "shut again: no entry of the customer's, no public endpoint"

    def left(self) -> list[str]:
        """Return what is left, the network and the cluster among it."""
        ec2 = self._clients("ec2")
        mine = [{"Name": "tag:ringfence:install", "Values": [self._task["install_id"]]}]
        found = [v["VpcId"] for v in ec2.describe_vpcs(Filters=mine)["Vpcs"]]
        found += [s["SubnetId"] for s in ec2.describe_subnets(Filters=mine)["Subnets"]]
        found += [a["AllocationId"] for a in ec2.describe_addresses(Filters=mine)["Addresses"]]
        found += [
            n["NatGatewayId"]
            for n in ec2.describe_nat_gateways(Filter=mine)["NatGateways"]
            if n["State"] != "deleted"
        ]
        # Of the vendor's way in, too: nothing may have come back with the kit.
        ecs = self._clients("ecs")
        found += ecs.list_task_definitions()["taskDefinitionArns"]
        tasks = ecs.describe_clusters(clusters=[self._task["cluster"]])["clusters"]
        found += [one["clusterArn"] for one in tasks if one["status"] == "ACTIVE"]
        clusters = self._clients("eks").list_clusters()["clusters"]
        found += [name for name in clusters if name == self._task["cluster"]]
        return found + _bucket_images_and_roles(self._task, self._clients)

    def require_others_untouched(self) -> str:
        """Say what stays by its nature."""
        return f"empty of the install; kept: {_kept(self._clients)}"

    def _nodes(self) -> int:
        eks, name = self._clients("eks"), self._task["cluster"]
        (group,) = eks.list_nodegroups(clusterName=name)["nodegroups"]
        found = eks.describe_nodegroup(clusterName=name, nodegroupName=group)["nodegroup"]
        return int(found["scalingConfig"]["desiredSize"])


class Guest:
    """An install in the cluster of another boundary, which must not notice."""

    def __init__(self, task: dict[str, Any], clients: Clients) -> None:
        self._task = task
        self._clients = clients
        self._host: str = task["host"]["boundary"]
        self._role = f"ringfence-{task['boundary']}-fetcher"
        self._before = self._seen_of_host()
        self._bound = ""

    def change(self) -> list[str]:
        """Bound the pods' role by a policy of the customer instead of the template's."""
        document = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": ["s3:*", "kms:*"], "Resource": "*"}],
        }
        made = self._clients("iam").create_policy(
            PolicyName=OWN_BOUND, PolicyDocument=json.dumps(document)
        )
        self._bound = made["Policy"]["Arn"]
        return ["--set", f"permissions_boundary_arn={self._bound}"]

    def require_changed(self) -> None:
        """See that the role has the customer's policy."""
        role = self._clients("iam").get_role(RoleName=self._role)["Role"]
        found = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
        if found != self._bound:
            raise AloneError(f"update: {self._role} is bounded by {found}, not {self._bound}")

    def left(self) -> list[str]:
        """Return what is left, in the host's cluster too, as EKS has it."""
        found = [
            f"{one['namespace']}/{one['serviceAccount']}"
            for one in self._associations()
            if one["namespace"] in self._task["host"]["namespaces"]
        ]
        aliases = self._clients("kms").list_aliases()["Aliases"]
        own = f"alias/ringfence-{self._task['boundary']}"
        found += [one["AliasName"] for one in aliases if one["AliasName"] == own]
        return found + _bucket_images_and_roles(self._task, self._clients)

    def require_others_untouched(self) -> str:
        """See that the account shows the same of the host as before, part by part."""
        after = self._seen_of_host()
        changed = [name for name, seen in self._before.items() if after[name] != seen]
        if changed:
            raise AloneError(f"the host {self._host} was changed: {', '.join(changed)}")
        # Who has an entry in a cluster that is shut may be nobody; all else a host has.
        empty = [name for name, seen in self._before.items() if not seen and name != "entries"]
        if empty:
            raise AloneError(f"nothing was seen of the host {self._host}: {', '.join(empty)}")
        return (
            f"empty of the guest; kept: {_kept(self._clients)}\n"
            f"host {self._host} is as it was: {', '.join(self._before)}"
        )

    def _associations(self) -> list[dict[str, Any]]:
        eks, found = self._clients("eks"), []
        pages = eks.get_paginator("list_pod_identity_associations")
        for page in pages.paginate(clusterName=self._task["cluster"]):
            found += page["associations"]
        return found

    def _seen_of_host(self) -> dict[str, Any]:
        """Return what the account shows of the host, by kind."""
        eks, ec2, name = self._clients("eks"), self._clients("ec2"), self._task["cluster"]
        iam, s3 = self._clients("iam"), self._clients("s3")
        mine = [{"Name": "tag:ringfence:boundary", "Values": [self._host]}]
        groups = eks.list_nodegroups(clusterName=name)["nodegroups"]
        bucket = f"ringfence-{self._host}-{self._task['account_id']}-artifacts"
        roles = iam.list_roles(PathPrefix=f"/ringfence/{self._host}/")["Roles"]
        return {
            "cluster": eks.describe_cluster(name=name)["cluster"],
            "nodes": [
                eks.describe_nodegroup(clusterName=name, nodegroupName=group)["nodegroup"]
                for group in groups
            ],
            "add-ons": sorted(eks.list_addons(clusterName=name)["addons"]),
            "entries": sorted(eks.list_access_entries(clusterName=name)["accessEntries"]),
            "associations": sorted(
                json.dumps(one, sort_keys=True, default=str)
                for one in self._associations()
                if one["namespace"] not in self._task["host"]["namespaces"]
            ),
            "network": [
                *ec2.describe_vpcs(Filters=mine)["Vpcs"],
                *ec2.describe_subnets(Filters=mine)["Subnets"],
                *ec2.describe_route_tables(Filters=mine)["RouteTables"],
                *ec2.describe_nat_gateways(Filter=mine)["NatGateways"],
            ],
            "bucket": [
                (one["Key"], one["ETag"])
                for one in s3.list_objects_v2(Bucket=bucket).get("Contents", [])
            ],
            # A list of roles has neither their tags nor what bounds them.
            "roles": sorted(
                json.dumps(iam.get_role(RoleName=one["RoleName"])["Role"], default=str)
                for one in roles
            ),
            "key": self._host_key(),
        }

    def _host_key(self) -> list[Any]:
        kms = self._clients("kms")
        return [
            (one["AliasName"], kms.describe_key(KeyId=one["TargetKeyId"])["KeyMetadata"])
            for one in kms.list_aliases()["Aliases"]
            if one["AliasName"] == f"alias/ringfence-{self._host}"
        ]


def _bucket_images_and_roles(task: dict[str, Any], clients: Clients) -> list[str]:
    """Return bucket, roles and copies of images that an install has, as far as they are there."""
    boundary = task["boundary"]
    bucket = f"ringfence-{boundary}-{task['account_id']}-artifacts"
    found = [b["Name"] for b in clients("s3").list_buckets()["Buckets"] if b["Name"] == bucket]
    roles = clients("iam").list_roles(PathPrefix=f"/ringfence/{boundary}/")["Roles"]
    found += [role["RoleName"] for role in roles]
    repositories = clients("ecr").describe_repositories()["repositories"]
    mine = f"ringfence/{boundary}/"
    return found + [
        one["repositoryName"] for one in repositories if one["repositoryName"].startswith(mine)
    ]


def _kept(clients: Clients) -> str:
    """Return what stays by its nature: keys in their waiting time, and the customer's stack."""
    kms = clients("kms")
    keys = [kms.describe_key(KeyId=k["KeyId"])["KeyMetadata"] for k in kms.list_keys()["Keys"]]
    waiting = [k["KeyId"] for k in keys if k["KeyState"] == "PendingDeletion"]
    return f"{len(waiting)} key in its waiting time, the stack of the role's template"
