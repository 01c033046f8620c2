"""Pod addresses and the cluster's nft ruleset, kept in line with what the caches say.

Called by the pod runners (attach, detach) and by the caches' change events. A pod's process is
started only after the ruleset that holds its policies is loaded.
"""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import ipaddress
from collections.abc import Callable, Iterable
from pathlib import Path

from sandbox.cluster.settings import NODE_ADDRESS, POD_RANGE
from sandbox.net.commands import NetError, apply_ruleset
from sandbox.net.namespace import MNT_DETACH, add_pod, remove_pod
from sandbox.net.policy import compile_policies, pod_facts
from sandbox.net.ruleset import Network, render
from sandbox.net.services import translations
from sandbox.node.api import Object

FIRST_POD = 256
SETTLE_SECONDS = 0.004
RETRY_SECONDS = 1.0


class PodNetwork:
    """Allocates addresses, makes namespaces and loads rulesets."""

    def __init__(
        self,
        folder: Path,
        objects: Callable[[str], Iterable[Object]],
        pod_of: Callable[[str], Object | None],
    ) -> None:
        self._folder = folder
        self._objects = objects
        self._pod_of = pod_of
        self._addresses: dict[str, str] = {}
        self._range = ipaddress.IPv4Network(POD_RANGE)
        self._next = FIRST_POD
        self._dirty = asyncio.Event()
        self._wanted = 0
        self._loaded = 0
        self._changed = asyncio.Condition()
        self._last = ""

    def clean(self) -> None:
        """Remove the namespaces of an agent that ended; their processes died with it."""
        libc = ctypes.CDLL(None, use_errno=True)
        for path in self._folder.glob("*"):
            libc.umount2(str(path).encode(), MNT_DETACH)
            path.unlink(missing_ok=True)

    def namespace(self, uid: str) -> Path:
        return self._folder / uid

    def _link(self, uid: str) -> str:
        # Interface names hold 15 bytes.
        return "p" + hashlib.sha256(uid.encode()).hexdigest()[:12]

    def _allocate(self) -> str:
        used = set(self._addresses.values())
        size = self._range.num_addresses
        for _ in range(size):
            address = str(self._range[self._next])
            self._next = self._next + 1 if self._next < size - 2 else FIRST_POD
            # .0 and .255 confuse people more than they cost.
            if address not in used and not address.endswith((".0", ".255")):
                return address
        raise NetError(f"no free pod address in {POD_RANGE}")

    async def attach(self, uid: str) -> str:
        """Give a pod its namespace and address, closed until its policies are loaded."""
        address = self._allocate()
        self._addresses[uid] = address
        try:
            await add_pod(self.namespace(uid), self._link(uid), address, NODE_ADDRESS)
        except NetError:
            await self.detach(uid)
            raise
        await self.refresh()
        return address

    async def detach(self, uid: str) -> None:
        """Take a pod off the network; harmless when it never was on it."""
        if self._addresses.pop(uid, None) is not None:
            await remove_pod(self.namespace(uid), self._link(uid))
            self.touch()

    def touch(self) -> None:
        """Say that something the ruleset depends on changed."""
        self._wanted += 1
        self._dirty.set()

    async def refresh(self) -> None:
        """Wait until a ruleset made from the present state is loaded."""
        self.touch()
        wanted = self._wanted
        async with self._changed:
            await self._changed.wait_for(lambda: self._loaded >= wanted)

    async def run(self) -> None:
        """Load a new ruleset whenever something changed, for ever."""
        while True:
            await self._dirty.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._dirty.clear()
            wanted = self._wanted
            text = render(self.describe())
            try:
                if text != self._last:
                    await apply_ruleset(text)
                    self._last = text
            except NetError as error:
                # The old ruleset stays; new pods wait, which is the safe side.
                print(f"network: {error}", flush=True)
                self._dirty.set()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            async with self._changed:
                self._loaded = wanted
                self._changed.notify_all()

    def describe(self) -> Network:
        """Return the network as it should be."""
        facts = []
        for uid, address in self._addresses.items():
            pod = self._pod_of(uid)
            if pod is not None:
                facts.append(pod_facts(pod, address))
        namespaces = {
            item["metadata"]["name"]: item["metadata"].get("labels") or {}
            for item in self._objects("namespaces")
        }
        rules = compile_policies(self._objects("networkpolicies"), facts, namespaces)
        services = translations(self._objects("services"), self._objects("endpointslices"))
        return Network(tuple(rules), tuple(services))
