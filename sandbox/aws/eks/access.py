"""Access entries and pod identity associations of EKS clusters.

Called by the EKS service with the state's lock held. An entry keeps the unique id of its principal:
a role of the same name made later does not open the cluster (decision 9).
"""

from __future__ import annotations

import uuid
from typing import Any

from sandbox.aws.clock import Clock
from sandbox.aws.eks.runtime import ACCESS_POLICIES
from sandbox.aws.eks.state import Cluster, State, bad_parameter, in_use, not_found
from sandbox.aws.messages import Call
from sandbox.aws.operations.eks import eks_arn
from sandbox.aws.operations.iam import find_role

_POLICY_PREFIX = "arn:aws:eks::aws:cluster-access-policy/"
_RESERVED = ("system:", "eks:", "aws:", "amazon:", "iam:")


class Access:
    """Entries and associations."""

    def __init__(self, state: State, clock: Clock) -> None:
        """Take the state."""
        self._state, self._clock = state, clock

    def create_entry(self, call: Call) -> dict[str, Any]:
        """Create an access entry."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        principal = str(call.params.get("principalArn", ""))
        groups = [str(one) for one in call.params.get("kubernetesGroups") or []]
        if any(one.startswith(_RESERVED) for one in groups):
            raise bad_parameter(f"kubernetesGroups must not begin with {', '.join(_RESERVED)}")
        if principal in cluster["entries"]:
            raise in_use(f"The specified access entry resource is already in use: {principal}")
        entry = self.entry(cluster, call, principal)
        entry["kubernetesGroups"] = groups
        entry["username"] = str(call.params.get("username") or entry["username"])
        entry["tags"] = dict(call.params.get("tags") or {})
        cluster["entries"][principal] = entry
        self._state.save()
        return {"accessEntry": _shown(entry)}

    def entry(self, cluster: Cluster, call: Call, principal: str) -> dict[str, Any]:
        """Make an entry for a role that exists. Raises AwsError InvalidParameterException."""
        role: Any = find_role(call.account, principal.rpartition("/")[2])
        expected = f"arn:aws:iam::{call.account}:role"
        if role is None or principal != f"{expected}{role.path}{role.name}":
            raise bad_parameter("The specified principalArn is invalid: invalid principal")
        now = self._clock.now().timestamp()
        arn = eks_arn(call, "access-entry", cluster["name"], "role", call.account, role.name, _id())
        return {
            "clusterName": cluster["name"], "principalArn": principal, "principal_id": role.id,
            "kubernetesGroups": [], "accessEntryArn": arn, "createdAt": now, "modifiedAt": now,
            "tags": {}, "type": "STANDARD", "policies": {},
            "username": f"arn:aws:sts::{call.account}:assumed-role/{role.name}/{{{{SessionName}}}}",
        }  # fmt: skip

    def describe_entry(self, call: Call) -> dict[str, Any]:
        """Describe an entry."""
        return {"accessEntry": _shown(self._entry(call))}

    def update_entry(self, call: Call) -> dict[str, Any]:
        """Change groups or user name of an entry."""
        entry = self._entry(call)
        groups = [str(one) for one in call.params.get("kubernetesGroups") or []]
        if any(one.startswith(_RESERVED) for one in groups):
            raise bad_parameter(f"kubernetesGroups must not begin with {', '.join(_RESERVED)}")
        entry["kubernetesGroups"] = groups
        entry["username"] = str(call.params.get("username") or entry["username"])
        entry["modifiedAt"] = self._clock.now().timestamp()
        self._state.save()
        return {"accessEntry": _shown(entry)}

    def delete_entry(self, call: Call) -> dict[str, Any]:
        """Delete an entry."""
        entry = self._entry(call)
        cluster = self._state.get(call, str(call.params["clusterName"]))
        del cluster["entries"][entry["principalArn"]]
        self._state.save()
        return {}

    def list_entries(self, call: Call) -> dict[str, Any]:
        """List principals with an entry."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        return {"accessEntries": sorted(cluster["entries"])}

    def associate_policy(self, call: Call) -> dict[str, Any]:
        """Associate an access policy for the whole cluster."""
        entry, arn = self._entry(call), str(call.params.get("policyArn", ""))
        name = arn.removeprefix(_POLICY_PREFIX)
        if not arn.startswith(_POLICY_PREFIX) or name not in ACCESS_POLICIES:
            raise bad_parameter(f"The policyArn {arn} is not valid; known: {list(ACCESS_POLICIES)}")
        scope = call.params.get("accessScope") or {}
        if scope.get("type") != "cluster":
            raise bad_parameter(
                "accessScope: the rehearsal account models type=cluster only; use "
                "kubernetesGroups with role bindings for a namespace"
            )
        now = self._clock.now().timestamp()
        one = {"policyArn": arn, "accessScope": scope, "associatedAt": now, "modifiedAt": now}
        entry["policies"][arn] = one
        self._state.save()
        return {
            "clusterName": entry["clusterName"],
            "principalArn": entry["principalArn"],
            "associatedAccessPolicy": one,
        }

    def disassociate_policy(self, call: Call) -> dict[str, Any]:
        """Take an access policy away."""
        entry, arn = self._entry(call), str(call.params.get("policyArn", ""))
        if entry["policies"].pop(arn, None) is None:
            raise not_found(f"The policy {arn} is not associated")
        self._state.save()
        return {}

    def list_policies(self, call: Call) -> dict[str, Any]:
        """List the policies of an entry."""
        entry = self._entry(call)
        return {
            "clusterName": entry["clusterName"],
            "principalArn": entry["principalArn"],
            "associatedAccessPolicies": list(entry["policies"].values()),
        }

    def create_association(self, call: Call) -> dict[str, Any]:
        """Associate a service account with a role."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        namespace = str(call.params.get("namespace", ""))
        account = str(call.params.get("serviceAccount", ""))
        if not namespace or not account:
            raise bad_parameter("namespace and serviceAccount are required")
        if find_association(cluster, namespace, account):
            raise in_use("Association already exists for this service account")
        now = self._clock.now().timestamp()
        identifier = f"a-{uuid.uuid4().hex[:17]}"
        association = {
            "clusterName": cluster["name"], "namespace": namespace, "serviceAccount": account,
            "roleArn": self._role(call), "associationId": identifier,
            "associationArn": eks_arn(call, "podidentityassociation", cluster["name"], identifier),
            "tags": dict(call.params.get("tags") or {}), "createdAt": now, "modifiedAt": now,
        }  # fmt: skip
        cluster["associations"][identifier] = association
        self._state.save()
        return {"association": association}

    def describe_association(self, call: Call) -> dict[str, Any]:
        """Describe an association."""
        return {"association": self._association(call)}

    def update_association(self, call: Call) -> dict[str, Any]:
        """Give an association another role."""
        association = self._association(call)
        association["roleArn"] = self._role(call)
        association["modifiedAt"] = self._clock.now().timestamp()
        self._state.save()
        return {"association": association}

    def delete_association(self, call: Call) -> dict[str, Any]:
        """Delete an association."""
        association = self._association(call)
        cluster = self._state.get(call, str(call.params["clusterName"]))
        del cluster["associations"][association["associationId"]]
        self._state.save()
        return {"association": association}

    def list_associations(self, call: Call) -> dict[str, Any]:
        """List associations, filtered by namespace and service account."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        names = ("clusterName", "namespace", "serviceAccount", "associationArn", "associationId")
        filters = {k: call.params[k] for k in ("namespace", "serviceAccount") if k in call.params}
        return {
            "associations": [
                {name: one[name] for name in names}
                for one in cluster["associations"].values()
                if all(one[key] == value for key, value in filters.items())
            ]
        }

    def _entry(self, call: Call) -> dict[str, Any]:
        """Find the entry of a call. Raises AwsError ResourceNotFoundException."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        principal = str(call.params.get("principalArn", ""))
        found: dict[str, Any] | None = cluster["entries"].get(principal)
        if found is None:
            raise not_found(f"The specified principalArn could not be found: {principal}")
        return found

    def _association(self, call: Call) -> dict[str, Any]:
        """Find the association of a call. Raises AwsError ResourceNotFoundException."""
        cluster = self._state.get(call, str(call.params["clusterName"]))
        identifier = str(call.params.get("associationId", ""))
        found: dict[str, Any] | None = cluster["associations"].get(identifier)
        if found is None:
            raise not_found(f"No association found with id {identifier}")
        return found

    def _role(self, call: Call) -> str:
        """Check the role of an association: same account, existing."""
        arn = str(call.params.get("roleArn", ""))
        role: Any = find_role(call.account, arn.rpartition("/")[2])
        if role is None or not arn.startswith(f"arn:aws:iam::{call.account}:role/"):
            raise bad_parameter(f"Role provided in the request does not exist: {arn}")
        return arn


def find_association(cluster: Cluster, namespace: str, account: str) -> dict[str, Any] | None:
    """Find the association of a service account."""
    for one in cluster["associations"].values():
        if (one["namespace"], one["serviceAccount"]) == (namespace, account):
            found: dict[str, Any] = one
            return found
    return None


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    """Leave out what AWS does not show."""
    return {k: v for k, v in entry.items() if k not in ("principal_id", "policies")}


def _id() -> str:
    """Make a unique id."""
    return str(uuid.uuid4())
