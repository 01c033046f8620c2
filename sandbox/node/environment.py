"""A container's environment, command and arguments, resolved as the kubelet does.

Called by the container runner. Pure save for reading ConfigMaps and Secrets through a callback.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from sandbox.cluster.settings import AWS_ADDRESS, NODE_ADDRESS
from sandbox.node.api import Object

Fetch = Callable[[str, str], Awaitable[Object | None]]
"""(kind, name) in the pod's namespace -> object."""

_REFERENCE = re.compile(r"\$\$|\$\(([-._A-Za-z0-9]+)\)")
_KEYED = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")


class ConfigError(RuntimeError):
    """A container cannot be configured: CreateContainerConfigError."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value and `$$` by `$`; unknown names stay as they are."""

    def one(found: re.Match[str]) -> str:
        if found.group(0) == "$$":
            return "$"
        return variables.get(found.group(1), found.group(0))

    return _REFERENCE.sub(one, text)


def field_value(pod: Object, path: str, address: str) -> str:
    """Return the value of a downward-API field.

    Raises: ConfigError for a field this agent does not know.
    """
    meta, spec = pod["metadata"], pod["spec"]
    keyed = _KEYED.match(path)
    if keyed:
        return str((meta.get(keyed.group(1)) or {}).get(keyed.group(2), ""))
    simple = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": address,
        "status.podIPs": address,
        "status.hostIP": NODE_ADDRESS,
        "status.hostIPs": NODE_ADDRESS,
    }
    if path in simple:
        return str(simple[path])
    if path in ("metadata.labels", "metadata.annotations"):
        values = meta.get(path.removeprefix("metadata.")) or {}
        return "".join(f'{key}="{value}"\n' for key, value in sorted(values.items()))
    raise ConfigError(f"fieldRef {path!r} is not supported by the sandbox's node agent")


def service_variables(services: Iterable[Object], namespace: str, links: bool) -> dict[str, str]:
    """Return `<NAME>_SERVICE_HOST` and `_PORT` of the namespace's Services and of kubernetes."""
    found: dict[str, str] = {}
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        api = meta["namespace"] == "default" and meta["name"] == "kubernetes"
        address = spec.get("clusterIP")
        if not address or address == "None":
            continue
        if not api and not (links and meta["namespace"] == namespace):
            continue
        name = meta["name"].upper().replace("-", "_")
        ports = spec.get("ports") or []
        found[f"{name}_SERVICE_HOST"] = address
        if ports:
            found[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                label = port["name"].upper().replace("-", "_")
                found[f"{name}_SERVICE_PORT_{label}"] = str(port["port"])
    return found


def aws_variables(region: str) -> dict[str, str]:
    """Return what points AWS clients at the rehearsal account (emulation)."""
    return {
        "AWS_ENDPOINT_URL": f"http://{AWS_ADDRESS}",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }


async def resolve(
    pod: Object, container: Object, address: str, base: Mapping[str, str], fetch: Fetch
) -> dict[str, str]:
    """Return the container's environment on top of `base`.

    Raises: ConfigError when a referenced object or key is missing and not optional.
    """
    result = dict(base)
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix") or ""
        for kind, field in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            if field in source:
                values = await _values(fetch, kind, source[field])
                result.update({prefix + key: value for key, value in values.items()})
    for item in container.get("env") or ():
        value = await _value(pod, container, item, address, result, fetch)
        if value is not None:
            result[item["name"]] = value
    return result


async def _values(fetch: Fetch, kind: str, reference: Object) -> dict[str, str]:
    found = await fetch(kind, reference["name"])
    if found is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f"{kind.removesuffix('s')} {reference['name']!r} not found")
    return {key: raw.decode() for key, raw in content(found).items()}


def content(found: Object) -> dict[str, bytes]:
    """Return the data of a ConfigMap or Secret as bytes per key."""
    if found.get("kind") == "Secret" or "type" in found:
        return {key: base64.b64decode(raw) for key, raw in (found.get("data") or {}).items()}
    plain = {key: text.encode() for key, text in (found.get("data") or {}).items()}
    binary = {key: base64.b64decode(raw) for key, raw in (found.get("binaryData") or {}).items()}
    return {**plain, **binary}


async def _value(
    pod: Object,
    container: Object,
    item: Object,
    address: str,
    known: Mapping[str, str],
    fetch: Fetch,
) -> str | None:
    source: dict[str, Any] | None = item.get("valueFrom")
    if source is None:
        return expand(item.get("value") or "", known)
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"], address)
    if "resourceFieldRef" in source:
        return _resource(container, source["resourceFieldRef"]["resource"])
    for kind, field in (("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")):
        if field in source:
            reference = source[field]
            values = await _values(fetch, kind, reference)
            if reference["key"] in values:
                return values[reference["key"]]
            if reference.get("optional"):
                return None
            raise ConfigError(
                f"{kind.removesuffix('s')} {reference['name']!r} has no key {reference['key']!r}"
            )
    raise ConfigError(f"env {item['name']!r}: valueFrom {sorted(source)} is not supported")


def _resource(container: Object, name: str) -> str:
    which, _, resource = name.partition(".")
    value = ((container.get("resources") or {}).get(which) or {}).get(resource)
    if value is None:
        raise ConfigError(f"resourceFieldRef {name!r}: the container sets no such value")
    return str(value)
