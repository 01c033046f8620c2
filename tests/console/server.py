"""The API as a process of its own, on a real database, with sign-in by the test's provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proof.keys import encode_public, fingerprint
from sandbox.home import free_port
from tests.integration.sign_in.issuer import CLIENT, Issuer
from tests.postgres import DatabaseUrls

START_SECONDS = 30.0


@dataclass
class ApiProcess:
    """A running API and the key whose public half it gives to agents."""

    url: str
    key: Ed25519PrivateKey
    log: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End the process as whoever upgrades it does."""
        self.process.terminate()
        self.process.wait(timeout=20)

    def start_again(self) -> None:
        """Start it anew at the same address and return once it is ready."""
        self.process = _spawn(self.url, self.environment, self.log)
        _wait_until_ready(self)


def start_api(urls: DatabaseUrls, folder: Path, issuers: list[Issuer]) -> ApiProcess:
    """Start uvicorn with the API and return once it is ready."""
    port = free_port()
    key = Ed25519PrivateKey.generate()
    log = folder / "api.log"
    environment = {
        **os.environ,
        "RINGFENCE_DATABASE_URL_FILE": str(_private(folder / "database-url", urls.api)),
        "RINGFENCE_CONTROL_PLANE_PUBLIC_KEY": encode_public(key),
        "RINGFENCE_CONTROL_PLANE_FINGERPRINT": fingerprint(key),
        "RINGFENCE_RELEASE_FINGERPRINT": fingerprint(Ed25519PrivateKey.generate()),
        "RINGFENCE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        # All of these tests' people come from one address.
        "RINGFENCE_SIGN_IN_PER_ADDRESS": "10000",
        "RINGFENCE_SIGN_IN_KEY_FILE": str(_private(folder / "sign-in.pem", _sign_in_key())),
        "RINGFENCE_SIGN_IN_PROVIDERS_FILE": str(_providers(folder, issuers)),
    }
    url = f"http://127.0.0.1:{port}"
    started = ApiProcess(url, key, log, environment, _spawn(url, environment, log))
    _wait_until_ready(started)
    return started


def _spawn(url: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "uvicorn", "controlplane.app:create_app", "--factory"]
    argv += ["--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--no-access-log"]
    # Event streams stay open as long as their runs do, so an end has to cut them.
    argv += ["--timeout-graceful-shutdown", "1"]
    with log.open("ab") as output:
        return subprocess.Popen(argv, env=environment, stdout=output, stderr=output)


def _wait_until_ready(api: ApiProcess) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx2.get(f"{api.url}/readyz", timeout=2, trust_env=False).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        if api.process.poll() is not None or time.monotonic() > deadline:
            api.process.kill()
            raise RuntimeError(f"the API did not start:\n{api.log.read_text()[-3000:]}")
        time.sleep(0.1)


def _private(path: Path, content: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(content)
    return path


def _sign_in_key() -> str:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def _providers(folder: Path, issuers: list[Issuer]) -> Path:
    path = folder / "providers.json"
    entries = [
        {"issuer": i.issuer, "metadata_url": i.metadata_url, "client_id": CLIENT} for i in issuers
    ]
    path.write_text(json.dumps(entries))
    return path
