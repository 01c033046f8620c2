"""Load balancers of one emulated cluster: a loopback address of the host per Service.

Called by the host-side process; the node agent says over the `lb` socket which Services of type
LoadBalancer exist and writes the addresses into their status. Addresses are 127.88.X.Y, chosen
from the Service's uid, kept over restarts, and never shared: an address in use is passed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import socket
from dataclasses import dataclass, field
from typing import Any

from sandbox.cluster import forward
from sandbox.cluster.settings import LOAD_BALANCER_ADDRESS, ClusterSettings, write_private

ATTEMPTS = 64
FIRST_FREE_PORT = 1024


@dataclass
class Balancer:
    """One Service's address, with a listener per port."""

    uid: str
    address: str
    ports: list[int]
    target: str
    servers: list[asyncio.Server] = field(default_factory=list)


def candidate(uid: str, attempt: int) -> str:
    """Return the n-th address to try for a Service."""
    digest = hashlib.sha256(f"{uid} {attempt}".encode()).digest()
    return f"127.88.{digest[0]}.{1 + digest[1] % 254}"


class LoadBalancers:
    """Keeps listeners in line with the list the node agent sends."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._path = settings.data / "loadbalancers.json"
        self._kept: dict[str, str] = {}
        self._active: dict[str, Balancer] = {}
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        if self._path.exists():
            self._kept = json.loads(self._path.read_text())
        await forward.serve_unix(self._settings.socket("lb"), self._handle)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            wanted = json.loads(await reader.readline())["services"]
            async with self._lock:
                answer: dict[str, Any] = await self._apply(wanted)
        except (ValueError, KeyError, TypeError, OSError) as error:
            answer = {"error": f"{error}"}
        with contextlib.suppress(ConnectionError):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        await forward.close(writer)

    async def _apply(self, wanted: list[dict[str, Any]]) -> dict[str, Any]:
        errors: dict[str, str] = {}
        by_uid = {service["uid"]: service for service in wanted}
        for uid, balancer in list(self._active.items()):
            service = by_uid.get(uid)
            if service is None or service["ports"] != balancer.ports:
                await self._close(balancer)
            else:
                balancer.target = service["target"]
        for uid, service in by_uid.items():
            if uid in self._active:
                continue
            try:
                self._active[uid] = await self._open(uid, service)
            except PermissionError:
                low = [port for port in service["ports"] if port < FIRST_FREE_PORT]
                errors[uid] = (
                    f"ports {low} may not be opened on the host by an ordinary user: "
                    f"give the Service ports of {FIRST_FREE_PORT} or more"
                )
            except OSError as error:
                errors[uid] = str(error)
        self._kept = {uid: balancer.address for uid, balancer in self._active.items()}
        write_private(self._path, json.dumps(self._kept, indent=1, sort_keys=True).encode())
        return {"addresses": dict(self._kept), "errors": errors}

    async def _open(self, uid: str, service: dict[str, Any]) -> Balancer:
        addresses = [candidate(uid, attempt) for attempt in range(ATTEMPTS)]
        if uid in self._kept:
            addresses.insert(0, self._kept[uid])
        for address in addresses:
            balancer = Balancer(uid, address, list(service["ports"]), service["target"])
            try:
                for port in balancer.ports:
                    balancer.servers.append(await self._listen(balancer, port))
            except OSError as error:
                for server in balancer.servers:
                    server.close()
                if error.errno == errno.EADDRINUSE:
                    continue
                raise
            print(f"load balancer {address} ports {balancer.ports}", flush=True)
            return balancer
        raise OSError(errno.EADDRINUSE, f"no free address 127.88.0.0/16 for Service {uid}")

    async def _listen(self, balancer: Balancer, port: int) -> asyncio.Server:
        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await forward.open_through(
                self._settings.socket("net"), balancer.target, port, LOAD_BALANCER_ADDRESS
            )

        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((balancer.address, port))
            return await asyncio.start_server(forward.forwarder(connect), sock=listener)
        except OSError:
            listener.close()
            raise

    async def _close(self, balancer: Balancer) -> None:
        for server in balancer.servers:
            server.close()
        del self._active[balancer.uid]
