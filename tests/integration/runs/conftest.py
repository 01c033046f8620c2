"""The saga bench, a real Redis, and worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.api.conftest import (  # noqa: F401 - fixtures of the run routes
    acme,
    api_database,
    client,
    control_plane_key,
    person,
)
from tests.integration.api.test_installs import active  # noqa: F401 - a fixture of the run routes
from tests.postgres import DatabaseUrls
from tests.redis_server import RedisServer
from tests.sagas.bench import Bench, open_bench

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bench(database: DatabaseUrls) -> Iterator[Bench]:
    """A seeded tenant on an empty, migrated database."""
    with open_bench(database) as opened:
        yield opened


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A running Redis."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()


class Workers:
    """Starts worker processes and ends them all."""

    def __init__(self, folder: Path, url: str, redis_url: str) -> None:
        self.folder = folder
        self._secret = folder / "database-url"
        self._secret.touch(mode=0o600)
        self._secret.write_text(url)
        self._redis_url = redis_url
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *, lease: float = 4.0, poll: float = 0.5) -> subprocess.Popen[bytes]:
        """Start one worker; its log is `worker-<n>.log` in the folder."""
        log = (self.folder / f"worker-{len(self.processes)}.log").open("wb")
        argv = ["-m", "tests.integration.runs.worker_process", str(self._secret)]
        with log:
            process = subprocess.Popen(
                [sys.executable, *argv, self._redis_url, str(lease), str(poll)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def logs(self) -> str:
        """Return what all workers wrote."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("worker-*.log")))

    def end(self) -> None:
        """Kill every worker that still runs, also stopped ones."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=10)


@pytest.fixture
def workers(tmp_path: Path, bench: Bench, redis_server: RedisServer) -> Iterator[Workers]:
    """Worker processes on the bench's database and Redis."""
    started = Workers(tmp_path, bench.urls.worker, redis_server.url)
    yield started
    started.end()
