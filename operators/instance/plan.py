"""The child objects of a ModelInstance; pure.

Called by `instance.controller` and by tests. The revision is a digest over everything a pod
depends on; it is a label of the pod template, so a change of any of it rolls the Deployment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from operators import types
from operators.children import child_name, container_security, labels, metadata, pod_security
from operators.core.api import RawObject
from operators.core.writer import fingerprint
from operators.engines.dialects import DIALECTS
from operators.engines.llamacpp import CONFIG_FOLDER
from operators.engines.protocol import MountedAdapter
from operators.settings import Settings
from wire.resources import ModelInstanceSpec

COMPONENT = "engine"
STORE = "/models"
REVISION_LENGTH = 12
MEBIBYTE = 1024 * 1024
BASE_MEMORY_MIB = 192
"""What an engine needs beside the weights, per unit of the profile."""
GRACE_SECONDS = 35
"""Longer than the engine's own draining, so that live answers are not cut."""


@dataclass(frozen=True)
class InstanceInputs:
    """What the children depend on besides the instance itself."""

    model_path: str
    model_bytes: int
    adapters: tuple[MountedAdapter, ...]
    """Verified adapters, ordered by alias."""
    replicas: int
    """0 when a mounted artifact was refused after the fact."""


def _labels(instance: RawObject) -> dict[str, str]:
    return labels(COMPONENT, {types.INSTANCE: instance["metadata"]["name"]})


def selector(instance: RawObject) -> dict[str, str]:
    """Return the labels that select the instance's pods."""
    return {types.COMPONENT: COMPONENT, types.INSTANCE: instance["metadata"]["name"]}


def config_map(instance: RawObject, spec: ModelInstanceSpec, inputs: InstanceInputs) -> RawObject:
    """Return the engine's configuration files."""
    name, namespace = instance["metadata"]["name"], instance["metadata"]["namespace"]
    dialect = DIALECTS[spec.engine.name]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(instance, child_name(name, "engine"), namespace, _labels(instance)),
        "data": dialect.configuration(spec, inputs.model_path, inputs.adapters),
    }


def _pod_spec(
    instance: RawObject, spec: ModelInstanceSpec, inputs: InstanceInputs, settings: Settings
) -> dict[str, Any]:
    dialect = DIALECTS[spec.engine.name]
    variables = {**dialect.environment(), "HOME": "/tmp"}  # noqa: S108 - the pod's own emptyDir
    probe = {"httpGet": {"path": "/health", "port": settings.engine_port}, "timeoutSeconds": 2}
    return {
        "serviceAccountName": "engine",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security(),
        "containers": [
            {
                "name": "engine",
                "image": spec.engine.image,
                "args": dialect.command(spec, inputs.model_path, inputs.adapters),
                "env": [{"name": k, "value": v} for k, v in sorted(variables.items())],
                "ports": [{"name": "http", "containerPort": settings.engine_port}],
                "readinessProbe": {**probe, "periodSeconds": 2, "failureThreshold": 2},
                "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 900},
                "livenessProbe": {**probe, "periodSeconds": 20, "failureThreshold": 6},
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": container_security(),
                "resources": _resources(spec, inputs.model_bytes),
                "volumeMounts": [
                    {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
                    {"name": "models", "mountPath": STORE, "readOnly": True},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
                ],
            }
        ],
        "volumes": [
            {
                "name": "config",
                "configMap": {"name": child_name(instance["metadata"]["name"], "engine")},
            },
            {
                "name": "models",
                "persistentVolumeClaim": {
                    "claimName": settings.model_store_claim,
                    "readOnly": True,
                },
            },
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _resources(spec: ModelInstanceSpec, model_bytes: int) -> dict[str, Any]:
    mebibytes = BASE_MEMORY_MIB * spec.profile.count + 2 * -(-model_bytes // MEBIBYTE)
    return {
        "requests": {"cpu": f"{100 * spec.profile.count}m", "memory": f"{mebibytes}Mi"},
        "limits": {"memory": f"{2 * mebibytes}Mi"},
    }


def revision(
    instance: RawObject, spec: ModelInstanceSpec, inputs: InstanceInputs, settings: Settings
) -> str:
    """Return the digest of everything a pod depends on, 12 hexadecimal digits."""
    content = {
        "config": config_map(instance, spec, inputs)["data"],
        "pod": _pod_spec(instance, spec, inputs, settings),
    }
    return fingerprint(content)[:REVISION_LENGTH]


def deployment(
    instance: RawObject, spec: ModelInstanceSpec, inputs: InstanceInputs, settings: Settings
) -> RawObject:
    """Return the Deployment: the next pod is ready before the last one goes."""
    name, namespace = instance["metadata"]["name"], instance["metadata"]["namespace"]
    marked = {
        **_labels(instance),
        types.REVISION: revision(instance, spec, inputs, settings),
    }
    return {
        "apiVersion": types.DEPLOYMENT.api_version,
        "kind": types.DEPLOYMENT.kind,
        "metadata": metadata(instance, name, namespace, _labels(instance)),
        "spec": {
            "replicas": inputs.replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 1800,
            "selector": {"matchLabels": selector(instance)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": {
                "metadata": {"labels": marked},
                "spec": _pod_spec(instance, spec, inputs, settings),
            },
        },
    }


def service(instance: RawObject, settings: Settings) -> RawObject:
    """Return the Service the gateway calls."""
    name, namespace = instance["metadata"]["name"], instance["metadata"]["namespace"]
    port = settings.engine_port
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(instance, name, namespace, _labels(instance)),
        "spec": {
            "selector": selector(instance),
            "ports": [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}],
        },
    }


def network_policy(instance: RawObject, settings: Settings) -> RawObject:
    """Return the policy: gateway and operator may call the engine, it may call nobody."""
    name, namespace = instance["metadata"]["name"], instance["metadata"]["namespace"]
    callers = [
        {"podSelector": {"matchLabels": {types.COMPONENT: "gateway"}}},
        {
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": settings.system_namespace}
            },
            "podSelector": {"matchLabels": {types.COMPONENT: "operator"}},
        },
    ]
    return {
        "apiVersion": types.NETWORK_POLICY.api_version,
        "kind": types.NETWORK_POLICY.kind,
        "metadata": metadata(instance, child_name(name, "engine"), namespace, _labels(instance)),
        "spec": {
            "podSelector": {"matchLabels": selector(instance)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": callers, "ports": [{"port": settings.engine_port, "protocol": "TCP"}]}
            ],
        },
    }
