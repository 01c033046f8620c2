"""Everything the controllers see: one cache per type, with the indexes they look things up by.

Built by `operators.main`, read by the gather steps. Only objects of the stack are watched (label
`ringfence.dev/component`), and of the cluster-scoped kinds the boundary's own, so the caches never
hold the cluster's other objects or a neighbour's.
"""

from __future__ import annotations

from collections.abc import Iterable

from operators import types
from operators.core.api import RawObject
from operators.core.cache import Cache, Key
from operators.core.reflector import Selection
from operators.settings import Settings


def owners(obj: RawObject) -> Iterable[str]:
    """Yield the UIDs of an object's owners."""
    return [owner["uid"] for owner in obj["metadata"].get("ownerReferences", [])]


def instance_label(obj: RawObject) -> Iterable[str]:
    """Yield the ModelInstance an object belongs to."""
    value = obj["metadata"].get("labels", {}).get(types.INSTANCE)
    return [value] if value else []


def artifact_label(obj: RawObject) -> Iterable[str]:
    """Yield the ModelArtifact an object belongs to."""
    value = obj["metadata"].get("labels", {}).get(types.ARTIFACT)
    return [value] if value else []


def component_label(obj: RawObject) -> Iterable[str]:
    """Yield the component an object belongs to."""
    value = obj["metadata"].get("labels", {}).get(types.COMPONENT)
    return [value] if value else []


def artifact_refs(obj: RawObject) -> Iterable[str]:
    """Yield the ModelArtifacts a resource of ours refers to."""
    spec = obj.get("spec", {})
    names = [spec.get(field, {}).get("name") for field in ("artifactRef", "baseRef")]
    return [name for name in names if name]


def instance_refs(obj: RawObject) -> Iterable[str]:
    """Yield the ModelInstance a binding refers to."""
    name = obj.get("spec", {}).get("instanceRef", {}).get("name")
    return [name] if name else []


class View:
    """The caches, by what they hold."""

    def __init__(self) -> None:
        by_instance = {"instance": instance_label}
        self.boundaries = Cache()
        self.artifacts = Cache({"artifact": artifact_refs})
        self.instances = Cache({"artifact": artifact_refs})
        self.bindings = Cache({"artifact": artifact_refs, "instance": instance_refs})
        self.accesses = Cache()
        self.namespaces = Cache()
        self.config_maps = Cache(by_instance)
        self.services = Cache({**by_instance, "component": component_label})
        self.deployments = Cache({**by_instance, "component": component_label})
        self.pods = Cache({**by_instance, "artifact": artifact_label})
        self.jobs = Cache({"artifact": artifact_label})
        self.policies = Cache({**by_instance, "component": component_label})
        self.quotas = Cache()

    def selections(self, settings: Settings) -> list[tuple[Selection, Cache]]:
        """Return what each cache is fed from."""
        ours, inside = types.COMPONENT, settings.namespace
        own = f"metadata.name={settings.boundary}"
        return [
            (Selection(types.custom("SecurityBoundary"), fields=own), self.boundaries),
            (Selection(types.custom("ModelArtifact"), inside), self.artifacts),
            (Selection(types.custom("ModelInstance"), inside), self.instances),
            (Selection(types.custom("AdapterBinding"), inside), self.bindings),
            (Selection(types.custom("GatewayAccess"), inside), self.accesses),
            (Selection(types.NAMESPACE, fields=f"metadata.name={inside}"), self.namespaces),
            (Selection(types.CONFIG_MAP, inside, ours), self.config_maps),
            (Selection(types.SERVICE, inside, ours), self.services),
            (Selection(types.DEPLOYMENT, inside, ours), self.deployments),
            (Selection(types.POD, inside, ours), self.pods),
            (Selection(types.JOB, inside, ours), self.jobs),
            (Selection(types.NETWORK_POLICY, inside, ours), self.policies),
            (Selection(types.RESOURCE_QUOTA, inside, ours), self.quotas),
        ]

    def instance_limit(self, namespace: str) -> int | None:
        """Return the maxInstances of the boundary that rules a namespace; None without one."""
        for boundary in self.boundaries:
            spec = boundary.get("spec", {})
            if spec.get("namespace") == namespace:
                limit = spec.get("quota", {}).get("maxInstances")
                return None if limit is None else int(limit)
        return None

    def artifact(self, namespace: str, name: str) -> RawObject | None:
        """Return a ModelArtifact."""
        return self.artifacts.find(Key(namespace, name))
