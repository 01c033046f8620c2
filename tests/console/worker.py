"""Start and end the worker's process, and let its children fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.postgres import DatabaseUrls
from tests.redis_server import RedisServer
from tests.sandbox_aws.conftest import GateProcess

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
CHILD = "python-of-children"
"""The interpreter of the worker's children: a script, so that a test can make them fail."""


@dataclass
class WorkerProcess:
    """A running worker."""

    log: Path
    process: subprocess.Popen[bytes]

    @contextmanager
    def printing_fails(self) -> Iterator[None]:
        """Let the child that prints reports be killed for want of memory meanwhile."""
        child = self.log.parent / CHILD
        good = child.read_text()
        child.write_text("#!/bin/sh\nkill -KILL $$\n")
        try:
            yield
        finally:
            child.write_text(good)

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(timeout=20)


def start_worker(
    urls: DatabaseUrls,
    folder: Path,
    key: Ed25519PrivateKey,
    redis_server: RedisServer,
    gate: GateProcess,
) -> WorkerProcess:
    """Start a worker that signs with the control plane's key, and return once it takes jobs."""
    (folder / "work").mkdir(parents=True)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    vendor = (gate.root / "secrets/aws/vendor.json").read_bytes()
    secrets = {"database-url": urls.worker.encode(), "control-plane-key.pem": pem}
    for name, content in {**secrets, "aws.json": vendor}.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    child = folder / CHILD
    child.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    child.chmod(0o755)
    log = folder / "worker.log"
    argv = ["-m", "tests.console.worker_process", str(folder), redis_server.url, gate.endpoint]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *argv],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=output,
        )
    deadline = time.monotonic() + START_SECONDS
    while "worker.started" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"the worker did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.1)
    return WorkerProcess(log, process)
