"""The `/etc` of a container: names of users and hosts, written by the node agent.

Called by the pod runner at start and when Services change. There is no cluster DNS in the sandbox
(emulation): Services are found through `/etc/hosts`, which follows them within a second, and
through the usual `<NAME>_SERVICE_HOST` variables.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sandbox.node.api import Object

DOMAIN = "svc.cluster.local"


def _names(name: str, namespace: str, viewer: str) -> str:
    names = [f"{name}.{namespace}.{DOMAIN}", f"{name}.{namespace}.svc", f"{name}.{namespace}"]
    if namespace == viewer:
        names.append(name)
    return " ".join(names)


def hosts(pod: Object, address: str, services: Iterable[Object], slices: Iterable[Object]) -> str:
    """Return the content of `/etc/hosts` for a pod."""
    meta, spec = pod["metadata"], pod["spec"]
    viewer = meta["namespace"]
    hostname = spec.get("hostname") or meta["name"]
    lines = [
        "# Written by the sandbox's node agent: it stands in for cluster DNS.",
        "127.0.0.1 localhost",
        f"{address} {hostname}",
    ]
    for alias in spec.get("hostAliases") or ():
        lines.append(f"{alias['ip']} {' '.join(alias.get('hostnames') or ())}")
    headless = set()
    for service in services:
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        cluster_ip = service["spec"].get("clusterIP")
        if cluster_ip == "None":
            headless.add((namespace, name))
        elif cluster_ip:
            lines.append(f"{cluster_ip} {_names(name, namespace, viewer)}")
    for item in slices:
        namespace = item["metadata"]["namespace"]
        name = (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
        if (namespace, name) in headless:
            lines += _headless(item, name, namespace, viewer)
    return "\n".join(lines) + "\n"


def _headless(item: Object, name: str, namespace: str, viewer: str) -> list[str]:
    lines = []
    for endpoint in item.get("endpoints") or ():
        if (endpoint.get("conditions") or {}).get("ready", True) is False:
            continue
        for address in endpoint["addresses"]:
            names = _names(name, namespace, viewer)
            if endpoint.get("hostname"):
                names = f"{_names(endpoint['hostname'] + '.' + name, namespace, viewer)} {names}"
            lines.append(f"{address} {names}")
    return lines


def write_etc(folder: Path, hostname: str, user: int, group: int, name: str, table: str) -> None:
    """Write a container's `/etc`; programs look their own user up there."""
    folder.mkdir(parents=True, exist_ok=True)
    users = ["root:x:0:0:root:/root:/bin/sh", "nobody:x:65534:65534:nobody:/:/bin/false"]
    groups = ["root:x:0:", "nogroup:x:65534:"]
    if user not in (0, 65534):
        users.append(f"{name}:x:{user}:{group}:{name}:/home/{name}:/bin/sh")
    if group not in (0, 65534):
        groups.append(f"{name}:x:{group}:")
    for file, content in (
        ("passwd", "\n".join(users) + "\n"),
        ("group", "\n".join(groups) + "\n"),
        ("hostname", hostname + "\n"),
        ("resolv.conf", ""),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ):
        (folder / file).write_text(content)
    write_hosts(folder, table)


def write_hosts(folder: Path, table: str) -> None:
    """Replace `/etc/hosts` atomically."""
    stage = folder / ".hosts.new"
    stage.write_text(table)
    stage.chmod(0o644)
    stage.rename(folder / "hosts")
