"""An account (moto, or the rehearsal account) and the real engine, once per test module."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.aws_provider.install import install
from sandbox.toolchain import find_program
from tests.blueprints.engine import Engine


@pytest.fixture(scope="module")
def moto_endpoint() -> Iterator[str]:
    """Serve a fresh moto from a process of its own."""
    script = Path(__file__).with_name("moto_process.py")
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def engine(moto_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return an engine whose only aws plugin is the stand-in."""
    home = tmp_path_factory.mktemp("pulumi")
    install(home / "plugins")
    credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "canary-secret-9f2c"}
    return Engine(home, Path(find_program("pulumi")), moto_endpoint, credentials)
