"""Compile the boundary's resources into one immutable routing table: who may reach what.

Called by `watch` on every change; read by the API on every request. Separate and pure, because this
is the function that must never let a pair outside the entitlement through: what is not understood,
is ambiguous or is not listed does not exist.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import ValidationError

from gateway.keys import hash_key, is_key
from wire.resources.adapter_binding import AdapterBindingSpec
from wire.resources.base import DNS_LABEL
from wire.resources.gateway_access import GatewayAccessSpec
from wire.resources.model_instance import ModelInstanceSpec

Resource = Mapping[str, Any]
Provider = Literal["llama_cpp", "vllm", "unknown"]
_NAME = re.compile(DNS_LABEL)
_PROVIDERS: Mapping[str, Provider] = {"llama.cpp": "llama_cpp", "vllm": "vllm"}


@dataclass(frozen=True)
class Resources:
    """The boundary's resources as the API server lists them."""

    accesses: tuple[Resource, ...] = ()
    instances: tuple[Resource, ...] = ()
    bindings: tuple[Resource, ...] = ()


@dataclass(frozen=True)
class Target:
    """What one model name stands for."""

    model: str
    endpoint: str | None
    """Base URL of the engine; None while the instance has none."""
    model_version: str
    adapter_id: str | None
    deployment_id: str
    provider: Provider


@dataclass(frozen=True)
class Caller:
    """Who a key belongs to, and everything it may reach."""

    owner: str
    group: str
    expires_at: datetime
    targets: Mapping[str, Target]
    """Model name -> target: exactly the group's models that exist."""

    def target(self, model: str) -> Target | None:
        """Return the target of a model name, or None: unknown and forbidden are the same."""
        return self.targets.get(model)


@dataclass(frozen=True)
class RoutingTable:
    """The whole configuration of one moment."""

    callers: Mapping[str, Caller] = field(default_factory=dict)
    """Hash of a key -> caller."""
    refused: tuple[str, ...] = ()
    """What was left out, and why; for the log, holds no key and no hash."""

    def caller(self, key: str, now: datetime) -> Caller | None:
        """Return whose key this is, or None when it is unknown or has expired."""
        if not is_key(key):
            return None
        caller = self.callers.get(hash_key(key))
        if caller is None or now >= caller.expires_at:
            return None
        return caller


def _name(resource: Resource) -> str:
    return str(resource.get("metadata", {}).get("name", "?"))


def _endpoint(resource: Resource) -> str | None:
    """Return a usable engine address of an instance, or None."""
    raw = (resource.get("status") or {}).get("endpoint")
    if not isinstance(raw, str):
        return None
    try:
        parts = urlsplit(raw)
        usable = parts.scheme == "http" and bool(parts.hostname) and parts.port is not None
    except ValueError:
        return None
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    if not usable or not plain or parts.path not in {"", "/"}:
        return None
    return f"http://{parts.netloc}"


def _deleted(resource: Resource) -> bool:
    return "deletionTimestamp" in resource.get("metadata", {})


def _parse(
    resources: Iterable[Resource], spec: type[Any], kind: str, refused: list[str]
) -> list[tuple[Resource, Any]]:
    """Return the resources whose spec is understood; a resource being deleted is gone."""
    parsed = []
    for resource in resources:
        if _deleted(resource):
            continue
        if not _NAME.fullmatch(_name(resource)):
            refused.append(f"{kind}: a resource's name is not a DNS label")
            continue
        try:
            parsed.append((resource, spec.model_validate(resource.get("spec"))))
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, e["loc"])) or "spec" for e in error.errors())
            refused.append(f"{kind} {_name(resource)}: not understood at {fields}")
    return parsed


def _targets(resources: Resources, refused: list[str]) -> dict[str, Target]:
    """Return every model name of the boundary that stands for exactly one thing."""
    found: list[Target] = []
    instances: dict[str, tuple[Resource, ModelInstanceSpec]] = {}
    for resource, spec in _parse(resources.instances, ModelInstanceSpec, "ModelInstance", refused):
        name = _name(resource)
        instances[name] = (resource, spec)
        found.append(_target(spec.serving.model_name, None, name, resource, spec))
    for resource, spec in _parse(resources.bindings, AdapterBindingSpec, "AdapterBinding", refused):
        instance = instances.get(spec.instance_ref.name)
        if instance is None:
            missing = spec.instance_ref.name
            refused.append(f"AdapterBinding {_name(resource)}: no ModelInstance {missing}")
            continue
        found.append(_target(spec.alias, spec.artifact_ref.name, spec.instance_ref.name, *instance))
    counted = Counter(target.model for target in found)
    for model, count in counted.items():
        if count > 1:
            refused.append(f"model {model}: {count} resources serve this name; none is used")
    return {t.model: t for t in found if counted[t.model] == 1}


def _target(
    model: str,
    adapter: str | None,
    instance: str,
    resource: Resource,
    spec: ModelInstanceSpec,
) -> Target:
    return Target(
        model=model,
        endpoint=_endpoint(resource),
        model_version=spec.artifact_ref.name,
        adapter_id=adapter,
        deployment_id=instance,
        provider=_PROVIDERS.get(spec.engine.name, "unknown"),
    )


def compile_table(resources: Resources) -> RoutingTable:
    """Compile the resources of one moment; deny by default.

    A group's list counts only for the keys of its own GatewayAccess. A key hash that appears in two
    of them is refused in both.
    """
    refused: list[str] = []
    targets = _targets(resources, refused)
    callers: dict[str, Caller] = {}
    seen: Counter[str] = Counter()
    for resource, access in _parse(resources.accesses, GatewayAccessSpec, "GatewayAccess", refused):
        reachable = {
            group.name: MappingProxyType({m: targets[m] for m in group.models if m in targets})
            for group in access.groups
        }
        for key in access.keys:
            seen[key.hash] += 1
            if key.group not in reachable:
                refused.append(f"GatewayAccess {_name(resource)}: no group {key.group}")
                continue
            callers[key.hash] = Caller(key.owner, key.group, key.expires_at, reachable[key.group])
    for digest, count in seen.items():
        if count > 1:
            callers.pop(digest, None)
            refused.append("GatewayAccess: one key is listed twice; it is refused")
    return RoutingTable(MappingProxyType(callers), tuple(refused))
