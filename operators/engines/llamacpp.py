"""The llama.cpp dialect: one JSON file names the weights and the adapters.

Our image puts a front before llama.cpp's server that maps served names to adapter numbers and
answers 404 to unknown ones.
"""

from __future__ import annotations

import json

import aiohttp

from operators.engines import openai_api
from operators.engines.protocol import Completion, MountedAdapter
from wire.resources import ModelInstanceSpec

CONFIG_FILE = "engine.json"
CONFIG_FOLDER = "/etc/ringfence"


class LlamaCpp:
    """The dialect of `ringfence/engine-llamacpp`."""

    def configuration(
        self, spec: ModelInstanceSpec, model_path: str, adapters: tuple[MountedAdapter, ...]
    ) -> dict[str, str]:
        content = {
            "served_model_name": spec.serving.model_name,
            "model_path": model_path,
            "adapters": [{"alias": a.alias, "path": a.path} for a in adapters],
            "context_length": spec.serving.context_length,
            "threads": spec.profile.count,
        }
        return {CONFIG_FILE: json.dumps(content, indent=1, sort_keys=True)}

    def command(
        self, spec: ModelInstanceSpec, model_path: str, adapters: tuple[MountedAdapter, ...]
    ) -> list[str]:
        return []

    def environment(self) -> dict[str, str]:
        return {"ENGINE_CONFIG": f"{CONFIG_FOLDER}/{CONFIG_FILE}"}

    async def healthy(self, session: aiohttp.ClientSession, url: str) -> bool:
        # 503 while the weights are loaded and while it drains.
        return await openai_api.health_status(session, url) == 200

    async def served_names(self, session: aiohttp.ClientSession, url: str) -> tuple[str, ...]:
        return await openai_api.list_models(session, url)

    async def complete(self, session: aiohttp.ClientSession, url: str, model: str) -> Completion:
        return await openai_api.stream_completion(session, url, model)
