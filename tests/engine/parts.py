"""Start a real engine on the demo models; used by the tests and the benchmark."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.models import ModelSet

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "Write a function that checks a record."
START_SECONDS = 30.0


def child_environment(**extra: str) -> dict[str, str]:
    """Return an environment for a part of the product, without what the test run carries."""
    kept = {k: os.environ[k] for k in ("PATH", "HOME", "LANG", "XDG_CACHE_HOME") if k in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), **extra}


def wait_for_log(process: subprocess.Popen[bytes], log: Path, pattern: str) -> re.Match[str]:
    """Return the match in a growing log. Raises: AssertionError when it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text()
        if found := re.search(pattern, text):
            return found
        if process.poll() is not None:
            raise AssertionError(f"ended with {process.returncode} before {pattern!r}:\n{text}")
        time.sleep(0.02)
    raise AssertionError(f"no {pattern!r} within {START_SECONDS:g} s:\n{log.read_text()}")


def engine_config(models: ModelSet, adapters: tuple[str, ...]) -> dict[str, object]:
    """Return the configuration file's content for the demo models."""
    return {
        "served_model_name": "tiny-coder",
        "model_path": str(models.path("tiny-coder")),
        "adapters": [{"alias": a, "path": str(models.path(a))} for a in adapters],
    }


@dataclass
class Engine:
    """A running engine process."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=40)


def start_engine(folder: Path, config: dict[str, object], **extra: str) -> Engine:
    """Start an engine on a free loopback port and wait until it is ready."""
    process, log = spawn_engine(folder, config, **extra)
    port = wait_for_log(process, log, r"ready on (\d+)").group(1)
    return Engine(process, log, f"http://127.0.0.1:{port}")


def spawn_engine(
    folder: Path, config: dict[str, object], **extra: str
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start an engine without waiting for it."""
    folder.mkdir(parents=True, exist_ok=True)
    file, log = folder / "engine.json", folder / "engine.log"
    file.write_text(json.dumps(config))
    settings = {"ENGINE_HOST": "127.0.0.1", "ENGINE_PORT": "0", **extra}
    environment = child_environment(ENGINE_CONFIG=str(file), **settings)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.engine.main"],
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
    return process, log
