"""What a SecurityBoundary wants in its namespace; pure.

Called by `boundary.controller` and by tests.
"""

from __future__ import annotations

from typing import Any

from operators import types
from operators.children import labels, metadata
from operators.core.api import RawObject
from operators.core.conditions import Finding, summary
from operators.core.writer import fingerprint
from wire.resources import (
    BoundaryQuota,
    BoundaryReason,
    NetworkRule,
    SecurityBoundarySpec,
)

COMPONENT = "boundary"
POD_SECURITY = "pod-security.kubernetes.io"


def namespace_labels(boundary: RawObject, spec: SecurityBoundarySpec) -> RawObject:
    """Return the part of the Namespace the boundary owns: its labels."""
    levels = {f"{POD_SECURITY}/{mode}": spec.pod_security for mode in ("enforce", "audit", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": spec.namespace,
            "labels": {types.BOUNDARY: boundary["metadata"]["name"], **levels},
        },
    }


def network_policies(boundary: RawObject, spec: SecurityBoundarySpec) -> list[RawObject]:
    """Return the default deny of both directions and one policy per named allow."""
    policies = [
        _policy(
            boundary,
            spec,
            "boundary-default-deny",
            {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        )
    ]
    for direction, rules in (
        ("ingress", spec.network.ingress_from),
        ("egress", spec.network.egress_to),
    ):
        policies += [_allow(boundary, spec, direction, rule) for rule in rules]
    return policies


def _allow(
    boundary: RawObject, spec: SecurityBoundarySpec, direction: str, rule: NetworkRule
) -> RawObject:
    ports = [{"port": p.port, "protocol": p.protocol} for p in rule.ports]
    side = "from" if direction == "ingress" else "to"
    body = {
        "podSelector": {"matchLabels": dict(rule.pods)} if rule.pods else {},
        "policyTypes": [direction.capitalize()],
        direction: [{side: [_peer(rule)], "ports": ports}],
    }
    return _policy(boundary, spec, f"boundary-{direction}-{rule.name}", body)


def _peer(rule: NetworkRule) -> dict[str, Any]:
    if rule.cidr is not None:
        return {"ipBlock": {"cidr": rule.cidr}}
    peer: dict[str, Any] = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": rule.namespace}}
    }
    if rule.peer_pods:
        peer["podSelector"] = {"matchLabels": dict(rule.peer_pods)}
    return peer


def _policy(
    boundary: RawObject, spec: SecurityBoundarySpec, name: str, body: dict[str, Any]
) -> RawObject:
    return {
        "apiVersion": types.NETWORK_POLICY.api_version,
        "kind": types.NETWORK_POLICY.kind,
        "metadata": metadata(boundary, name, spec.namespace, labels(COMPONENT, {})),
        "spec": body,
    }


def policy_hash(policies: list[RawObject]) -> str:
    """Return a digest over the rules, independent of their order."""
    rules = {policy["metadata"]["name"]: policy["spec"] for policy in policies}
    return f"sha256:{fingerprint(rules)}"


def resource_quota(boundary: RawObject, spec: SecurityBoundarySpec) -> RawObject | None:
    """Return the ResourceQuota, or None when no bound is wanted."""
    hard = _bounds(spec.quota)
    if not hard:
        return None
    return {
        "apiVersion": types.RESOURCE_QUOTA.api_version,
        "kind": types.RESOURCE_QUOTA.kind,
        "metadata": metadata(boundary, "boundary", spec.namespace, labels(COMPONENT, {})),
        "spec": {"hard": hard},
    }


def _bounds(quota: BoundaryQuota) -> dict[str, str]:
    # maxInstances is not here but in the instance controller: Kubernetes refuses every object of
    # a kind it counts until its quota controller has discovered the kind, half a minute or more.
    wanted = {
        "requests.cpu": quota.cpu,
        "requests.memory": quota.memory,
        "requests.storage": quota.storage,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def findings(
    spec: SecurityBoundarySpec, managed: str, present: bool, bounded: bool
) -> list[Finding]:
    """Return all conditions, `Ready` first.

    `managed` is the namespace this operator was installed for, `present` whether the boundary's
    namespace exists, `bounded` whether a quota is wanted. Policies and quota were stored before.
    """
    reached = spec.namespace == managed and present
    if spec.namespace != managed:
        reason = BoundaryReason.NAMESPACE_NOT_MANAGED
        message = f"this operator was installed for namespace {managed}, not {spec.namespace}"
    elif not present:
        reason = BoundaryReason.NAMESPACE_MISSING
        message = f"namespace {spec.namespace} does not exist; install the chart boundary-stack"
    else:
        reason, message = BoundaryReason.NAMESPACE_LABELLED, ""
    namespace = Finding("NamespaceReady", "True" if reached else "False", reason, message)
    if not reached:
        pending = [
            Finding(type_, "Unknown", BoundaryReason.PENDING, "waits for NamespaceReady")
            for type_ in ("NetworkIsolated", "QuotaEnforced")
        ]
    else:
        quota = BoundaryReason.QUOTA_APPLIED if bounded else BoundaryReason.QUOTA_UNSET
        pending = [
            Finding("NetworkIsolated", "True", BoundaryReason.POLICIES_APPLIED),
            Finding("QuotaEnforced", "True", quota),
        ]
    deciding = [namespace, *pending]
    probe = Finding(
        "IsolationProven", "Unknown", BoundaryReason.NOT_PROBED, "nobody has tried to cross yet"
    )
    return [summary(deciding, BoundaryReason.READY), *deciding, probe]
