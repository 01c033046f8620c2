"""How child objects of a custom resource look: names, labels, owner, and the restricted pod.

Used by the plans of the controllers; pure.
"""

from __future__ import annotations

import hashlib
from typing import Any

from operators import types
from operators.core.api import RawObject

NAME_LIMIT = 63
UNPRIVILEGED_USER = 65532


def child_name(name: str, suffix: str) -> str:
    """Return `name-suffix`, shortened with a hash where it would exceed 63 characters."""
    full = f"{name}-{suffix}"
    if len(full) <= NAME_LIMIT:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:8]
    return f"{name[: NAME_LIMIT - len(suffix) - 10].rstrip('-')}-{digest}-{suffix}"


def labels(component: str, more: dict[str, str]) -> dict[str, str]:
    """Return the labels of a child of `component`, with its own on top."""
    return {types.MANAGED_BY: types.OPERATOR_NAME, types.COMPONENT: component, **more}


def metadata(
    owner: RawObject, name: str, namespace: str, labelled: dict[str, str]
) -> dict[str, Any]:
    """Return the metadata of a child that goes when its owner goes."""
    return {
        "name": name,
        "namespace": namespace,
        "labels": labelled,
        "ownerReferences": [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def pod_security() -> dict[str, Any]:
    """Return a pod's security context for the level `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": UNPRIVILEGED_USER,
        "runAsGroup": UNPRIVILEGED_USER,
        "fsGroup": UNPRIVILEGED_USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """Return a container's security context for the level `restricted`."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
