"""What an engineer does in the demo: ask the boundary's model through the official client.

Used by `sandbox.demo.story`.
"""

from __future__ import annotations

import time

import openai

from sandbox.demo.result import Answer

MAX_TOKENS = 120


def _client(gateway_url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway_url}/v1", api_key=key, max_retries=0, timeout=60)


def ask(gateway_url: str, key: str, model: str, prompt: str) -> Answer:
    """Stream one chat completion and return it with its time to first token in milliseconds."""
    with _client(gateway_url, key) as client:
        started = time.monotonic()
        first: float | None = None
        text = ""
        tokens = 0
        stream = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": prompt}],
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=MAX_TOKENS,
            temperature=0,
        )
        for chunk in stream:
            if chunk.usage is not None:
                tokens = chunk.usage.completion_tokens
            for choice in chunk.choices:
                if choice.delta.content:
                    first = first if first is not None else time.monotonic()
                    text += choice.delta.content
    return Answer(
        model=model,
        prompt=prompt,
        text=text,
        output_tokens=tokens,
        ttft_ms=((first or time.monotonic()) - started) * 1000,
    )


def ask_for_foreign_model(gateway_url: str, key: str, model: str) -> int:
    """Return the status of asking for a model of another boundary."""
    with _client(gateway_url, key) as client:
        try:
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=1
            )
        except openai.APIStatusError as error:
            return error.status_code
    return 200
