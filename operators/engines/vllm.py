"""The vLLM dialect: everything is an argument of `vllm serve`.

Adapters are given at start by `--lora-modules alias=path`; `/v1/models` lists them beside the
base. Source: vLLM documentation, "LoRA Adapters" and "OpenAI-Compatible Server".
"""

from __future__ import annotations

import aiohttp

from operators.engines import openai_api
from operators.engines.protocol import Completion, MountedAdapter
from wire.resources import ModelInstanceSpec


class Vllm:
    """The dialect of vLLM's own server image."""

    def configuration(
        self, spec: ModelInstanceSpec, model_path: str, adapters: tuple[MountedAdapter, ...]
    ) -> dict[str, str]:
        return {}

    def command(
        self, spec: ModelInstanceSpec, model_path: str, adapters: tuple[MountedAdapter, ...]
    ) -> list[str]:
        arguments = [
            f"--model={model_path}",
            f"--served-model-name={spec.serving.model_name}",
            f"--max-model-len={spec.serving.context_length}",
            "--port=8000",
        ]
        if adapters:
            arguments += ["--enable-lora", f"--max-loras={len(adapters)}", "--lora-modules"]
            arguments += [f"{a.alias}={a.path}" for a in adapters]
        return arguments

    def environment(self) -> dict[str, str]:
        # The boundary has no way out: nothing may be looked up on the model hub.
        return {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}

    async def healthy(self, session: aiohttp.ClientSession, url: str) -> bool:
        return await openai_api.health_status(session, url) == 200

    async def served_names(self, session: aiohttp.ClientSession, url: str) -> tuple[str, ...]:
        return await openai_api.list_models(session, url)

    async def complete(self, session: aiohttp.ClientSession, url: str, model: str) -> Completion:
        return await openai_api.stream_completion(session, url, model)
