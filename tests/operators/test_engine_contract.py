"""The llama.cpp dialect against the real engine with the real demo weights."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from operators.engines.llamacpp import CONFIG_FILE, LlamaCpp
from operators.engines.protocol import EngineError, MountedAdapter
from sandbox.models.store import ensure
from tests.operators.apiserver import free_port
from tests.operators.conftest import until
from tests.operators.test_custom_resources import VALID
from wire.resources import ModelInstanceSpec

pytestmark = pytest.mark.slow
SPEC = ModelInstanceSpec.model_validate(
    {**VALID["ModelInstance"], "serving": {"modelName": "tiny-coder", "contextLength": 512}}
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running engine, configured by the dialect itself."""
    models = ensure()
    folder = tmp_path_factory.mktemp("engine")
    adapters = (MountedAdapter("payments-style", str(models.path("payments-style"))),)
    files = LlamaCpp().configuration(SPEC, str(models.path("tiny-coder")), adapters)
    for name, content in files.items():
        (folder / name).write_text(content)
    port = free_port()
    environment = {
        **os.environ,
        "ENGINE_CONFIG": str(folder / CONFIG_FILE),
        "ENGINE_HOST": "127.0.0.1",
        "ENGINE_PORT": str(port),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.engine.main"],
            env=environment,
            cwd=Path(__file__).resolve().parents[2],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_the_dialect_fits_the_engine(url: str) -> None:
    async def check() -> None:
        dialect = LlamaCpp()
        async with aiohttp.ClientSession() as session:

            async def healthy() -> bool:
                try:
                    return await dialect.healthy(session, url)
                except EngineError:
                    return False

            await until(healthy, 30, "the engine is healthy")
            assert await dialect.served_names(session, url) == ("payments-style", "tiny-coder")
            for name in ("tiny-coder", "payments-style"):
                answer = await dialect.complete(session, url, name)
                assert answer.output_tokens >= 1
                assert answer.ttft_ms > 0
            with pytest.raises(EngineError, match="404"):
                await dialect.complete(session, url, "research-style")
        await asyncio.sleep(0)

    asyncio.run(check())


def test_an_engine_that_is_not_there_is_an_error_that_names_it() -> None:
    async def check() -> None:
        nowhere = f"http://127.0.0.1:{free_port()}"
        async with aiohttp.ClientSession() as session:
            with pytest.raises(EngineError, match=nowhere):
                await LlamaCpp().healthy(session, nowhere)

    asyncio.run(check())
