"""Interfaces, addresses and routes: those of the node, and a namespace with a veth per pod.

Called by the supervisor once and by the node agent per pod. Pods are routed, not bridged: each has
a /32 behind its own veth, so the forward chain sees every packet between pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
from pathlib import Path

from sandbox.net.commands import NetError, ip_batch, run

MNT_DETACH = 2
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # Strict reverse path: a pod cannot speak under another pod's address.
    "net/ipv4/conf/all/rp_filter": "1",
    "net/ipv4/conf/default/rp_filter": "1",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}


async def set_up_node(addresses: list[str], service_range: str) -> None:
    """Bring up the loopback with the node's addresses and a route for Services."""
    await ip_batch(
        [
            "link set lo up",
            *(f"addr add {address}/32 dev lo" for address in addresses),
            # Without a route a connect would fail before the DNAT could change its target.
            f"route add {service_range} dev lo src {addresses[0]}",
        ]
    )
    for name, value in SYSCTLS.items():
        # A kernel without IPv6 has none of its switches.
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys", name).write_text(value)


def _unshare() -> str:
    found = shutil.which("unshare")
    if found is None:
        raise NetError("unshare is missing: install the package util-linux")
    return found


async def add_pod(namespace: Path, link: str, address: str, gateway: str) -> None:
    """Make a pod's network namespace at a path, with a veth named `link` on the node's side."""
    namespace.parent.mkdir(parents=True, exist_ok=True)
    namespace.touch(exist_ok=True)
    await ip_batch(
        [
            f"link add eth0 type veth peer name {link} netns /proc/{os.getpid()}/ns/net",
            "link set lo up",
            f"addr add {address}/32 dev eth0",
            "link set eth0 up",
            f"route add {gateway} dev eth0 scope link src {address}",
            f"route add default via {gateway} dev eth0 src {address}",
        ],
        enter=[_unshare(), f"--net={namespace}"],
    )
    await ip_batch([f"link set {link} up", f"route add {address}/32 dev {link}"])


async def remove_pod(namespace: Path, link: str) -> None:
    """Remove a pod's namespace and veth; absent ones are fine."""
    with contextlib.suppress(NetError):
        await ip_batch([f"link del {link}"])
    await asyncio.to_thread(_unmount, namespace)
    namespace.unlink(missing_ok=True)


def _unmount(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.umount2(str(path).encode(), MNT_DETACH)


async def mount_tmpfs(path: Path, size: str = "256m") -> None:
    """Mount a private tmpfs; it lives as long as the mount namespace."""
    path.mkdir(parents=True, exist_ok=True)
    program = shutil.which("mount") or "/bin/mount"
    await run([program, "-t", "tmpfs", "-o", f"mode=0700,size={size}", "sandbox", str(path)])
