"""Start and watch the llama.cpp process.

Called by `main`. Separate from the HTTP front so that the front never sees process handling.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from dataclasses import dataclass

from sandbox.engine.config import EngineConfig


class EngineStartError(RuntimeError):
    """llama.cpp did not come up; its own cause stands on standard error."""


@dataclass(frozen=True)
class LlamaProcess:
    """A running llama.cpp server: where it listens, and the key it wants."""

    process: asyncio.subprocess.Process
    url: str
    api_key: str

    async def stop(self) -> None:
        """End the process; its standard input is its lifeline."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), timeout=3)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()


async def start_llama(config: EngineConfig) -> LlamaProcess:
    """Start llama.cpp and return once the weights are loaded.

    Raises: EngineStartError when it ends before it is ready.
    """
    api_key = secrets.token_urlsafe(32)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox.engine.llama_server"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise EngineStartError("the llama.cpp process has no pipes")
    order = {"config": config.model_dump(mode="json"), "api_key": api_key}
    process.stdin.write(json.dumps(order).encode() + b"\n")
    line = await process.stdout.readline()
    if not line:
        code = await process.wait()
        raise EngineStartError(
            f"llama.cpp ended with exit code {code} while loading {config.model_path}; "
            "its cause stands above. Check that the file is the artifact of the stated digest"
        )
    return LlamaProcess(process, f"http://127.0.0.1:{json.loads(line)['port']}", api_key)
