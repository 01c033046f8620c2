"""SecurityBoundary: one namespace with its quota, network rules and artifact rules.

Cluster-scoped, because it rules the namespace it names. Written by the agent from a bundle, acted
on by `operators.boundary`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from wire.resources.base import (
    AGE_COLUMN,
    READY_COLUMNS,
    Column,
    Digest,
    Labels,
    ObjectName,
    Port,
    Quantity,
    ResourceKind,
    ResourcePart,
    Spec,
    Status,
)

Cidr = Annotated[str, Field(max_length=18, pattern=r"^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$")]


class NetworkPort(ResourcePart):
    """A destination port."""

    port: Port
    """Port number."""
    protocol: Literal["TCP", "UDP"] = "TCP"
    """Transport protocol."""


def _one_peer(schema: dict[str, Any]) -> None:
    schema["x-kubernetes-validations"] = [
        {
            "rule": "has(self.cidr) != has(self.namespace)",
            "message": "set exactly one of cidr and namespace",
        },
        {
            "rule": "has(self.namespace) || !has(self.peerPods) || size(self.peerPods) == 0",
            "message": "peerPods needs namespace",
        },
    ]


class NetworkRule(ResourcePart):
    """One named way through the default deny."""

    model_config = ConfigDict(json_schema_extra=_one_peer)

    name: Annotated[
        str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    ]
    """Becomes part of the NetworkPolicy's name; unique in its list."""
    pods: Labels = Field(default_factory=dict)
    """Pods of the boundary the rule is for; empty means all of them."""
    cidr: Cidr | None = None
    """The other side as an address range."""
    namespace: ObjectName | None = None
    """The other side as a namespace of this cluster."""
    peer_pods: Labels = Field(default_factory=dict)
    """Narrows `namespace` to pods with these labels."""
    ports: Annotated[tuple[NetworkPort, ...], Field(min_length=1, max_length=10)]
    """Destination ports; a rule without ports would open all of them, so one is required."""

    @model_validator(mode="after")
    def _exactly_one_peer(self) -> Self:
        if (self.cidr is None) == (self.namespace is None):
            raise ValueError("set exactly one of cidr and namespace")
        if self.peer_pods and self.namespace is None:
            raise ValueError("peerPods needs namespace")
        return self


_RULES = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


class BoundaryNetwork(ResourcePart):
    """What may cross the border; all else is denied in both directions."""

    ingress_from: Annotated[
        tuple[NetworkRule, ...], Field(max_length=20, json_schema_extra=_RULES)
    ] = ()
    """Who may reach pods of the boundary."""
    egress_to: Annotated[
        tuple[NetworkRule, ...], Field(max_length=20, json_schema_extra=_RULES)
    ] = ()
    """What pods of the boundary may reach."""


class BoundaryQuota(ResourcePart):
    """Upper bounds of what the namespace may hold; an unset bound is not enforced."""

    cpu: Quantity | None = None
    """Sum of CPU requests."""
    memory: Quantity | None = None
    """Sum of memory requests."""
    storage: Quantity | None = None
    """Sum of volume claims."""
    max_instances: Annotated[int, Field(ge=0, le=10000)] | None = None
    """Number of ModelInstances that are started, the oldest first; enforced by the operator."""


class ArtifactPolicy(ResourcePart):
    """Which artifacts may be mounted."""

    require_digest: Literal[True] = True
    """Artifacts are named by digest and verified before use; cannot be switched off."""
    allowed_digests: Annotated[
        tuple[Digest, ...],
        Field(max_length=500, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ()
    """The customer's list; empty means every artifact of the boundary's own bundle."""


class SecurityBoundarySpec(Spec):
    """A boundary as the customer wants it."""

    display_name: Annotated[str, Field(min_length=1, max_length=100)]
    """Name for people."""
    namespace: Annotated[
        ObjectName,
        Field(
            json_schema_extra={
                "x-kubernetes-validations": [
                    {"rule": "self == oldSelf", "message": "namespace is immutable"}
                ]
            }
        ),
    ]
    """The namespace this boundary rules; immutable."""
    quota: BoundaryQuota = Field(default_factory=BoundaryQuota)
    """Upper bounds of the namespace."""
    network: BoundaryNetwork = Field(default_factory=BoundaryNetwork)
    """Named ways through the default deny."""
    pod_security: Literal["restricted"] = "restricted"
    """Pod Security level enforced in the namespace."""
    artifact_policy: ArtifactPolicy = Field(default_factory=ArtifactPolicy)
    """Which artifacts may be mounted."""


class SecurityBoundaryStatus(Status):
    """What was observed of a boundary."""

    namespace_uid: Annotated[str | None, Field(alias="namespaceUID", max_length=36)] = None
    """UID of the namespace the policies were applied to."""
    policy_hash: Digest | None = None
    """SHA-256 over the network policies as applied."""


class BoundaryReason(StrEnum):
    """Reasons of SecurityBoundary's conditions."""

    READY = "Ready"
    """Every other condition is True."""
    NAMESPACE_LABELLED = "NamespaceLabelled"
    """The namespace exists and carries the boundary's and the Pod Security labels."""
    NAMESPACE_MISSING = "NamespaceMissing"
    """The namespace does not exist; the chart creates it."""
    NAMESPACE_NOT_MANAGED = "NamespaceNotManaged"
    """The namespace is not the one this operator was installed for."""
    POLICIES_APPLIED = "PoliciesApplied"
    """Default deny and the named allows are stored; whether they bite is another condition."""
    QUOTA_APPLIED = "QuotaApplied"
    """The ResourceQuota holds the wanted bounds."""
    QUOTA_UNSET = "QuotaUnset"
    """No bound is wanted, so there is no ResourceQuota."""
    NOT_PROBED = "NotProbed"
    """Nobody has tried to cross the border yet."""
    PENDING = "Pending"
    """An earlier condition is not True yet."""
    INVALID_SPEC = "InvalidSpec"
    """The stored spec is outside the vocabulary this operator knows."""


SECURITY_BOUNDARY = ResourceKind(
    kind="SecurityBoundary",
    plural="securityboundaries",
    short_name="sb",
    namespaced=False,
    spec=SecurityBoundarySpec,
    status=SecurityBoundaryStatus,
    reasons=tuple(str(reason) for reason in BoundaryReason),
    conditions={
        "Ready": "NamespaceReady, NetworkIsolated and QuotaEnforced are True.",
        "NamespaceReady": (
            "The namespace exists and carries the boundary's and the Pod Security labels."
        ),
        "NetworkIsolated": (
            "Default deny and every named allow are stored, and no other of ours is."
        ),
        "QuotaEnforced": "The ResourceQuota holds the wanted bounds, or none is wanted.",
        "IsolationProven": (
            "Somebody tried to cross the border and could not; Unknown until then."
        ),
    },
    columns=(*READY_COLUMNS, Column("Namespace", ".spec.namespace"), AGE_COLUMN),
)
