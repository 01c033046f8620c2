"""A played AWS on a Unix socket: pod identity for one service account, and one bucket.

It stands for the rehearsal account, which has tests of its own; here only the chart and the
operators are looked at. Signatures are required to be there, not verified.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from aiohttp import web


class PlayedAws:
    """Serves objects to pods of service account `fetcher` until it is closed."""

    def __init__(self, path: Path, objects: dict[str, bytes]) -> None:
        self._path = path
        self._objects = objects
        self.fetched: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the played AWS did not start")

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _serve(self) -> None:
        application = web.Application()
        application.add_routes(
            [
                web.get("/_rehearsal/eks/{cluster}/pod-identity", self._association),
                web.post("/clusters/{cluster}/assume-role-for-pod-identity", self._assume),
                web.get("/{bucket}/{key:.*}", self._object),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._path)).start()
        self._ready.set()

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _association(self, request: web.Request) -> web.Response:
        known = request.query["service_account"] == "fetcher"
        return web.json_response({}, status=200 if known else 404)

    async def _assume(self, _: web.Request) -> web.Response:
        credentials = {
            "accessKeyId": "ASIAPLAYED",
            "secretAccessKey": "played",
            "sessionToken": "played",
            "expiration": "2099-01-01T00:00:00Z",
        }
        return web.json_response({"credentials": credentials})

    async def _object(self, request: web.Request) -> web.Response:
        if not request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            return web.Response(status=403)
        content = self._objects.get(request.match_info["key"])
        if content is None:
            return web.Response(status=404)
        self.fetched.append(request.match_info["key"])
        return web.Response(body=content, content_type="application/octet-stream")
