"""The part that llama.cpp's server and vLLM share: the OpenAI-shaped HTTP API.

Used by both dialects.
"""

from __future__ import annotations

import json
import time
from typing import Any

import aiohttp

from operators.engines.protocol import Completion, EngineError

SMOKE_TOKENS = 8
SMOKE_PROMPT = "def add(a, b):"
ERROR_TEXT = 300


async def get_json(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    """Return status and decoded body of a GET. Raises: EngineError without a usable answer."""
    try:
        async with session.get(url) as answer:
            text = await answer.text()
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise EngineError(f"GET {url}: {error or type(error).__name__}") from error
    try:
        return status, json.loads(text) if text.strip() else None
    except json.JSONDecodeError as error:
        raise EngineError(f"GET {url}: {status}, the body is not JSON") from error


async def health_status(session: aiohttp.ClientSession, url: str) -> int:
    """Return the status of /health; its body differs between engines and does not matter."""
    try:
        async with session.get(f"{url}/health") as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise EngineError(f"GET {url}/health: {error or type(error).__name__}") from error


async def list_models(session: aiohttp.ClientSession, url: str) -> tuple[str, ...]:
    """Return the ids of /v1/models. Raises: EngineError."""
    status, body = await get_json(session, f"{url}/v1/models")
    if status != 200:
        raise EngineError(f"GET {url}/v1/models: {status}")
    try:
        return tuple(sorted(str(model["id"]) for model in body["data"]))
    except (KeyError, TypeError) as error:
        raise EngineError(f"GET {url}/v1/models: the answer has no data[].id") from error


async def stream_completion(session: aiohttp.ClientSession, url: str, model: str) -> Completion:
    """Stream one short chat completion and count it. Raises: EngineError."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": SMOKE_PROMPT}],
        "max_tokens": SMOKE_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    started = time.monotonic()
    first: float | None = None
    usage: dict[str, Any] = {}
    answered = ""
    try:
        # The caller bounds the whole call: a big model may think longer than a health check may.
        endpoint = f"{url}/v1/chat/completions"
        unbounded = aiohttp.ClientTimeout(total=None)
        async with session.post(endpoint, json=body, timeout=unbounded) as answer:
            if answer.status != 200:
                text = (await answer.text())[:ERROR_TEXT]
                raise EngineError(f"completion with {model}: {answer.status} {text}")
            async for line in answer.content:
                if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                    continue
                event = json.loads(line[6:])
                answered = event.get("model") or answered
                if first is None and event.get("choices"):
                    first = time.monotonic()
                usage = event.get("usage") or usage
    except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError) as error:
        raise EngineError(f"completion with {model}: {error or type(error).__name__}") from error
    tokens = int(usage.get("completion_tokens", 0))
    if first is None or tokens < 1:
        raise EngineError(f"completion with {model}: the engine answered no token")
    return Completion(answered or model, tokens, round((first - started) * 1000, 1))
