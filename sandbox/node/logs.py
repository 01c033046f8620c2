"""The part of the kubelet's API that the API server uses for `kubectl logs`.

Called by the agent. Only the API server may ask: its client certificate is required, and pods
cannot reach the port. Other parts of that API (exec, attach, port-forward) are not emulated.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from sandbox.cluster.settings import KUBELET_PORT, NODE_ADDRESS
from sandbox.node.container import Container

FOLLOW_SECONDS = 0.2
CHUNK = 1 << 16

Find = Callable[[str, str, str], Container | None]
"""(namespace, pod, container) -> the container on this node."""


class LogServer:
    """Serves container logs from their files."""

    def __init__(self, pki: Path, find: Find) -> None:
        self._pki = pki
        self._find = find

    async def start(self) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._pki / "kubelet.crt", self._pki / "kubelet.key")
        context.load_verify_locations(self._pki / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, NODE_ADDRESS, KUBELET_PORT, ssl_context=context).start()

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        peer = transport.get_extra_info("peercert") if transport is not None else None
        if _common_name(peer) != "kube-apiserver-kubelet-client":
            return web.Response(status=403, text="only the API server may read logs here\n")
        where = (request.match_info[key] for key in ("namespace", "pod", "container"))
        container = self._find(*where)
        if container is None:
            return web.Response(status=404, text="no such container on this node\n")
        run = container.restarts
        if request.query.get("previous") == "true":
            run -= 1
        path = container.log_of(run)
        if not path.exists():
            return web.Response(status=400, text="the container has no such log\n")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        tail = request.query.get("tailLines")
        offset = _tail_offset(path, int(tail)) if tail else 0
        follow = request.query.get("follow") == "true"
        await self._stream(response, path, offset, lambda: follow and _runs(container, run))
        return response

    async def _stream(
        self, response: web.StreamResponse, path: Path, offset: int, more: Callable[[], bool]
    ) -> None:
        with path.open("rb") as handle:
            handle.seek(offset)
            while True:
                # Asked before reading: what is written last must still be read.
                again = more()
                while data := handle.read(CHUNK):
                    await response.write(data)
                if not again:
                    return
                await asyncio.sleep(FOLLOW_SECONDS)


def _runs(container: Container, run: int) -> bool:
    return container.restarts == run and container.process is not None


def _tail_offset(path: Path, lines: int) -> int:
    """Return where the last lines of a log begin."""
    content = path.read_bytes()
    kept = content.splitlines(keepends=True)
    return sum(len(line) for line in kept[: max(0, len(kept) - lines)])


def _common_name(peer: object) -> str:
    if not isinstance(peer, dict):
        return ""
    for part in peer.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return ""
