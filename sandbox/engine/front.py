"""The engine's HTTP front: served names in front of llama.cpp's numeric adapters.

Built by `main`, called by the gateway and the node's probes. Separate from llama.cpp because that
answers unknown model names and adapter ids with 200: here they are 404. Adapters are chosen per
request by their scales, with the prompt cache off.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
from aiohttp import web

from sandbox.engine.config import EngineConfig
from sandbox.engine.process import LlamaProcess

CHUNK_IDLE_SECONDS = 120
MAX_BODY = 4 * 2**20
REFUSED_FIELDS = ("lora", "cache_prompt", "id_slot", "slot_id")
"""Fields of llama.cpp that would reach around the served names."""


def error(status: int, code: str, message: str, param: str | None = None) -> web.Response:
    """Return an error in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return web.json_response(body, status=status)


def _name_of(served_name: str) -> bytes:
    """Return a model name as llama.cpp writes it; inside a JSON string its quotes are escaped."""
    return b'"model":' + json.dumps(served_name).encode()


class Front:
    """State of the front: loading, serving or draining, and how many answers are live."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.llama: LlamaProcess | None = None
        self.draining = False
        self.live = 0
        self.idle = asyncio.Event()
        """Set while no answer is live."""
        self.idle.set()
        self._session: aiohttp.ClientSession | None = None
        self._scales = {config.served_model_name: self._scales_of(None)}
        self._scales |= {a.alias: self._scales_of(a.alias) for a in config.adapters}

    def _scales_of(self, alias: str | None) -> list[dict[str, float]]:
        adapters = self.config.adapters
        return [{"id": i, "scale": float(a.alias == alias)} for i, a in enumerate(adapters)]

    def serve(self, llama: LlamaProcess) -> None:
        """Become ready: the weights are loaded."""
        self.llama = llama
        self._session = aiohttp.ClientSession(
            llama.url,
            headers={"Authorization": f"Bearer {llama.api_key}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_read=CHUNK_IDLE_SECONDS),
            # Its HTTP server gives each open connection a thread and closes it after some requests,
            # without a word: kept connections would starve it and break at random.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
        )

    async def close(self) -> None:
        """Close the connections to llama.cpp."""
        if self._session is not None:
            await self._session.close()

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.get("/health", self.health),
                web.get("/v1/models", self.models),
                web.get("/metrics", self.metrics),
                web.get("/lora-adapters", self.lora_adapters),
                web.post("/v1/chat/completions", self.complete),
                web.post("/v1/completions", self.complete),
            ]
        )
        return app

    async def health(self, _: web.Request) -> web.Response:
        """Answer 200 only while requests are served."""
        if self.draining:
            return web.json_response({"status": "draining"}, status=503)
        if self.llama is None:
            return web.json_response({"status": "loading model"}, status=503)
        return web.json_response({"status": "ok"})

    async def models(self, _: web.Request) -> web.Response:
        """List the base and the adapters by served name."""
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "ringfence"}
            for name in self._scales
        ]
        return web.json_response({"object": "list", "data": data})

    async def lora_adapters(self, _: web.Request) -> web.Response:
        """List the loaded adapters: numeric id and alias."""
        if self.llama is None:
            return error(503, "engine_not_ready", "the weights are still being loaded")
        adapters = self.config.adapters
        return web.json_response([{"id": i, "alias": a.alias} for i, a in enumerate(adapters)])

    async def metrics(self, _: web.Request) -> web.Response:
        """Pass llama.cpp's own metrics on."""
        if self._session is None:
            return error(503, "engine_not_ready", "the weights are still being loaded")
        async with self._session.get("/metrics") as answer:
            return web.Response(body=await answer.read(), content_type="text/plain")

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat or text completion with the adapter the name stands for."""
        if self.draining:
            return error(503, "engine_draining", "this engine is shutting down; try another")
        if self._session is None:
            return error(503, "engine_not_ready", "the weights are still being loaded")
        try:
            body = await request.json()
        except json.JSONDecodeError:
            return error(400, "invalid_json", "the body is not JSON")
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            return error(400, "invalid_request", "`model` must be a string", "model")
        scales = self._scales.get(body["model"])
        if scales is None:
            return error(404, "model_not_found", "the model does not exist here", "model")
        for field in REFUSED_FIELDS:
            if field in body:
                return error(400, "unsupported_field", f"`{field}` may not be set", field)
        self.live += 1
        self.idle.clear()
        try:
            changed = {**body, "lora": scales, "cache_prompt": False}
            return await self._relay(request, self._session, changed)
        finally:
            self.live -= 1
            if not self.live:
                self.idle.set()

    async def _relay(
        self, request: web.Request, session: aiohttp.ClientSession, body: dict[str, Any]
    ) -> web.StreamResponse:
        """Send a request to llama.cpp and copy its answer; leaving cancels the computation."""
        try:
            answer = await session.post(request.path, json=body)
        except aiohttp.ClientConnectionError:
            return error(503, "engine_failed", "llama.cpp does not answer")
        async with answer:
            kind = answer.headers.get("Content-Type", "application/json")
            # llama.cpp knows one name, the base's; the answer carries the one that was asked for.
            theirs, ours = _name_of(self.config.served_model_name), _name_of(body["model"])
            if not kind.startswith("text/event-stream"):
                return web.Response(
                    body=(await answer.read()).replace(theirs, ours),
                    status=answer.status,
                    headers={"Content-Type": kind},
                )
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": kind})
            await response.prepare(request)
            event = b""
            async for line in answer.content:
                event += line
                if line == b"\n":
                    await response.write(event.replace(theirs, ours))
                    event = b""
            await response.write(event)
            await response.write_eof()
            return response
