"""Entry point of the image `ringfence/engine-llamacpp`.

Environment:
  ENGINE_CONFIG         path of a JSON file: {"served_model_name", "model_path",
                        "adapters": [{"alias", "path"}], "context_length", "threads", "parallel"}
  ENGINE_HOST           address to listen on (0.0.0.0)
  ENGINE_PORT           port to listen on (8000; 0 takes a free one and prints it)
  ENGINE_DRAIN_SECONDS  how long live answers may go on after SIGTERM (25)

Paths: /health (200 once the weights are loaded), /v1/models, /v1/chat/completions,
/v1/completions, /metrics, /lora-adapters.
Exit codes: 0 after SIGTERM; 1 when the weights cannot be loaded or llama.cpp dies; 2 when the
configuration is wrong. The cause stands on standard error.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from aiohttp import web

from sandbox.engine.config import (
    EngineConfig,
    EngineConfigError,
    EngineSettings,
    load_config,
    load_settings,
)
from sandbox.engine.front import Front
from sandbox.engine.process import EngineStartError, LlamaProcess, start_llama


def _say(message: str) -> None:
    print(f"engine: {message}", file=sys.stderr, flush=True)


async def _drain(front: Front, seconds: float) -> None:
    """Wait until no answer is live, at most `seconds`."""
    try:
        await asyncio.wait_for(front.idle.wait(), timeout=seconds)
    except TimeoutError:
        _say(f"{front.live} answers were cut after {seconds:g} s of draining")


async def serve(config: EngineConfig, settings: EngineSettings) -> int:
    """Serve until SIGTERM or until llama.cpp dies; return the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Before anything answers: without a handler a SIGTERM cuts the streams.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    front = Front(config)
    runner = web.AppRunner(
        front.application(),
        handle_signals=False,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=1,
    )
    await runner.setup()
    site = web.TCPSite(runner, settings.host, settings.port)
    await site.start()
    try:
        started = time.monotonic()
        try:
            llama = await start_llama(config)
        except EngineStartError as error:
            _say(str(error))
            return 1
        front.serve(llama)
        _say(f"ready on {site_port(runner)} after {time.monotonic() - started:.2f} s")
        return await _until_stopped(front, llama, site, stop, settings)
    finally:
        await front.close()
        await runner.cleanup()


def site_port(runner: web.AppRunner) -> int:
    """Return the port that is really listened on."""
    return int(runner.addresses[0][1])


async def _until_stopped(
    front: Front,
    llama: LlamaProcess,
    site: web.TCPSite,
    stop: asyncio.Event,
    settings: EngineSettings,
) -> int:
    ended = asyncio.create_task(llama.process.wait())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        stopped.cancel()
        _say(f"llama.cpp died with exit code {ended.result()}; its cause stands above")
        return 1
    front.draining = True
    await site.stop()
    _say(f"draining {front.live} live answers")
    await _drain(front, settings.drain_seconds)
    await llama.stop()
    await ended
    return 0


def main() -> int:
    """Read the configuration and serve; return the exit code."""
    try:
        settings = load_settings()
        named = os.environ.get("ENGINE_CONFIG")
        if not named:
            raise EngineConfigError("ENGINE_CONFIG is not set; name the JSON configuration file")
        config = load_config(Path(named))
    except EngineConfigError as error:
        _say(str(error))
        return 2
    return asyncio.run(serve(config, settings))


if __name__ == "__main__":
    sys.exit(main())
