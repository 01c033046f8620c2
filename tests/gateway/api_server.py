"""A test double of the Kubernetes API: list, watch and TokenReview over TLS, and nothing more.

It keeps the semantics the gateway relies on (resource versions, bookmarks, 410 after compaction,
watches that end); the cluster tests use the real API server.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

T = TypeVar("T")
TOKEN = "gateway-token"


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for 127.0.0.1 and return (certificate, key)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test api server")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    crt, pem = folder / "ca.crt", folder / "tls.key"
    crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return crt, pem


class ApiServer:
    """The double, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate, self._key = write_certificate(folder)
        (folder / "token").write_text(TOKEN)
        self.tokens: dict[str, str] = {}
        self.refuse_watches_with: int | None = None
        self.lists = 0
        self._objects: dict[str, dict[str, dict[str, Any]]] = {}
        self._version = 1
        self._watches: list[tuple[str, asyncio.Queue[dict[str, Any] | None]]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._runner, self.port = self._run(self._start())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _start(self) -> tuple[web.AppRunner, int]:
        app = web.Application()
        base = "/apis/ringfence.dev/v1alpha1/namespaces/{namespace}/{plural}"
        app.add_routes(
            [
                web.get(base, self._list_or_watch),
                web.post("/apis/authentication.k8s.io/v1/tokenreviews", self._review),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self._key)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return runner, runner.addresses[0][1]

    def close(self) -> None:
        """Stop serving."""
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _stop(self) -> None:
        for _, queue in self._watches:
            queue.put_nowait(None)
        await self._runner.cleanup()

    def environment(self) -> dict[str, str]:
        """Return what a pod's environment says about the API server."""
        return {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.port),
            "KUBERNETES_SERVICEACCOUNT_DIR": str(self.folder),
        }

    def put(self, plural: str, name: str, spec: Any, status: Any = None) -> None:
        """Create or replace an object."""

        def change() -> None:
            self._version += 1
            known = self._objects.setdefault(plural, {})
            item = {
                "metadata": {"name": name, "resourceVersion": str(self._version)},
                "spec": copy.deepcopy(spec),
                "status": copy.deepcopy(status) or {},
            }
            kind = "MODIFIED" if name in known else "ADDED"
            known[name] = item
            self._publish(plural, {"type": kind, "object": item})

        self._call(change)

    def delete(self, plural: str, name: str, *, silently: bool = False) -> None:
        """Delete an object; `silently` loses the event, as a broken watch does."""

        def change() -> None:
            self._version += 1
            item = self._objects[plural].pop(name)
            item["metadata"]["resourceVersion"] = str(self._version)
            if not silently:
                self._publish(plural, {"type": "DELETED", "object": item})

        self._call(change)

    def expire_watches(self) -> None:
        """End every watch with 410 Gone, as after a compaction."""

        def change() -> None:
            for _, queue in self._watches:
                queue.put_nowait({"type": "ERROR", "object": {"code": 410, "reason": "Expired"}})

        self._call(change)

    def _call(self, change: Callable[[], None]) -> None:
        async def run() -> None:
            change()

        self._run(run())

    def _publish(self, plural: str, event: dict[str, Any]) -> None:
        for watched, queue in self._watches:
            if watched == plural:
                queue.put_nowait(copy.deepcopy(event))

    async def _list_or_watch(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({}, status=401)
        plural = request.match_info["plural"]
        if request.query.get("watch"):
            return await self._watch(request, plural)
        self.lists += 1
        items = list(self._objects.get(plural, {}).values())
        metadata = {"resourceVersion": str(self._version)}
        return web.json_response({"items": items, "metadata": metadata})

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        if self.refuse_watches_with is not None:
            return web.json_response({}, status=self.refuse_watches_with)
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        since = int(request.query["resourceVersion"])
        for item in self._objects.get(plural, {}).values():
            if int(item["metadata"]["resourceVersion"]) > since:
                queue.put_nowait({"type": "MODIFIED", "object": copy.deepcopy(item)})
        self._watches.append((plural, queue))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            await response.prepare(request)
            while (event := await queue.get()) is not None:
                await response.write(web.json_response(event).body + b"\n")  # type: ignore[operator] # a bytes body
                if event["type"] == "ERROR":
                    break
        finally:
            self._watches.remove((plural, queue))
        return response

    async def _review(self, request: web.Request) -> web.Response:
        body = await request.json()
        user = self.tokens.get(body["spec"]["token"])
        status = {"authenticated": user is not None, "user": {"username": user or ""}}
        return web.json_response({**body, "status": status}, status=201)
