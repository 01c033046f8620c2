"""Objects every emulated cluster has from the start: the node agent's role and the storage class.

Called by the supervisor when the API server is ready. Creating is idempotent: what exists stays.
"""

from __future__ import annotations

from typing import Any

STORAGE_CLASS = "ringfence-local"
PROVISIONER = "ringfence.dev/local"
NODE_AGENT_ROLE = "ringfence:node-agent"


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


_READ = ["get", "list", "watch"]
_NODE_AGENT_RULES = [
    _rule([""], ["nodes"], [*_READ, "create", "update", "patch", "delete"]),
    _rule([""], ["nodes/status", "pods/status", "services/status"], ["update", "patch"]),
    _rule([""], ["pods"], [*_READ, "delete"]),
    _rule([""], ["services", "namespaces", "secrets", "configmaps"], _READ),
    _rule([""], ["serviceaccounts/token"], ["create"]),
    _rule([""], ["persistentvolumeclaims"], _READ),
    _rule([""], ["persistentvolumes"], [*_READ, "create", "patch", "delete"]),
    _rule([""], ["events"], ["create", "patch"]),
    _rule(["discovery.k8s.io"], ["endpointslices"], _READ),
    _rule(["networking.k8s.io"], ["networkpolicies"], _READ),
    _rule(["coordination.k8s.io"], ["leases"], ["get", "create", "update", "patch", "delete"]),
]

OBJECTS: list[tuple[str, dict[str, Any]]] = [
    (
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": NODE_AGENT_ROLE},
            "rules": _NODE_AGENT_RULES,
        },
    ),
    (
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NODE_AGENT_ROLE},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": NODE_AGENT_ROLE,
            },
            "subjects": [
                {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Group",
                    "name": "ringfence:node-agents",
                }
            ],
        },
    ),
    (
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "ringfence:kubelet-client"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:kubelet-api-admin",
            },
            "subjects": [
                {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "User",
                    "name": "kube-apiserver-kubelet-client",
                }
            ],
        },
    ),
    (
        "/apis/storage.k8s.io/v1/storageclasses",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": STORAGE_CLASS,
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "Immediate",
        },
    ),
]
