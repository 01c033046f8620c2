"""The types of objects the operator reads or writes, and the labels that tie them together."""

from __future__ import annotations

from operators.core.api import ResourceType
from wire.resources import API_VERSION, KINDS, ResourceKind

NAMESPACE = ResourceType("v1", "Namespace", "namespaces", namespaced=False)
CONFIG_MAP = ResourceType("v1", "ConfigMap", "configmaps")
SERVICE = ResourceType("v1", "Service", "services")
POD = ResourceType("v1", "Pod", "pods")
RESOURCE_QUOTA = ResourceType("v1", "ResourceQuota", "resourcequotas")
DEPLOYMENT = ResourceType("apps/v1", "Deployment", "deployments")
JOB = ResourceType("batch/v1", "Job", "jobs")
NETWORK_POLICY = ResourceType("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
LEASE = ResourceType("coordination.k8s.io/v1", "Lease", "leases")

COMPONENT = "ringfence.dev/component"
"""On every object of the stack (gateway, engine, fetcher, boundary); no other is watched."""
INSTANCE = "ringfence.dev/instance"
ARTIFACT = "ringfence.dev/artifact"
REVISION = "ringfence.dev/revision"
BOUNDARY = "ringfence.dev/boundary"
MANAGED_BY = "app.kubernetes.io/managed-by"
OPERATOR_NAME = "ringfence-operator"


def custom(kind: str) -> ResourceType:
    """Return the API type of one of our kinds."""
    known: ResourceKind = KINDS[kind]
    return ResourceType(API_VERSION, known.kind, known.plural, known.namespaced)
