"""The command line against the real API on a real PostgreSQL, with the rehearsal account's gate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proof.keys import encode_public, fingerprint
from ringfence.cli.main import main
from sandbox.home import free_port
from tests.integration.api.people import PEOPLE, register, token_of
from tests.postgres import DatabaseUrls, PostgresServer, migrated
from tests.sandbox_aws.conftest import GateProcess

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0


@dataclass(frozen=True)
class Ran:
    """What a command did: exit code, data, messages."""

    code: int
    out: str
    err: str


class Cli:
    """Runs `ringfence` in this process, as the console script does."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: object) -> None:
        self.home = home
        self._monkeypatch = monkeypatch
        self._capsys: pytest.CaptureFixture[str] = capsys  # type: ignore[assignment]  # fixture
        for name in [n for n in os.environ if n.startswith("RINGFENCE_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("RINGFENCE_HOME", str(home))

    def __call__(self, *arguments: str) -> Ran:
        """Run one command."""
        self._monkeypatch.setattr(sys, "argv", ["ringfence", *arguments])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capsys.readouterr()
        return Ran(int(ended.value.code or 0), out, err)


def write_context(home: Path, url: str) -> None:
    """Write the context file as the sandbox does."""
    home.mkdir(exist_ok=True)
    document = {
        "api_url": url,
        "default_person": "sam@acme.test",
        "people": {s: {"token": token_of(s), "role": r} for s, r in PEOPLE.items()},
    }
    (home / "context.json").write_text(json.dumps(document))


@pytest.fixture
def offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """The command line with an empty home: no control plane is known."""
    return Cli(tmp_path / "home", monkeypatch, capsys)


@pytest.fixture(scope="session")
def accounts() -> Iterator[str]:
    """The address of a rehearsal account's gate."""
    root = Path(tempfile.mkdtemp(prefix="rf-cli-", dir="/tmp"))
    gate = GateProcess(root)
    gate.start()
    yield gate.endpoint
    gate.stop()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def cli_database(postgres: PostgresServer) -> DatabaseUrls:
    """A migrated database of these tests' own; the API keeps it open between tests."""
    return migrated(postgres)


@pytest.fixture(scope="session")
def api_url(
    cli_database: DatabaseUrls, accounts: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of an API process."""
    folder = tmp_path_factory.mktemp("api")
    url_file = folder / "database-url"
    url_file.write_text(cli_database.api)
    key, port = Ed25519PrivateKey.generate(), free_port()
    settings = {
        "DATABASE_URL_FILE": str(url_file),
        "CONTROL_PLANE_PUBLIC_KEY": encode_public(key),
        "CONTROL_PLANE_FINGERPRINT": fingerprint(key),
        "RELEASE_FINGERPRINT": fingerprint(Ed25519PrivateKey.generate()),
        "AWS_ENDPOINT_URL": accounts,
    }
    log = folder / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "controlplane.app:create_app", "--factory"),
                *("--port", str(port)),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)}
            | {f"RINGFENCE_{name}": value for name, value in settings.items()},
            stdout=output,
            stderr=output,
        )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
    while not _ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the API did not start:\n{log.read_text()}")
        time.sleep(0.1)
    yield url
    process.terminate()
    process.wait(timeout=20)


def _ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=5, trust_env=False).is_success
    except httpx2.HTTPError:
        return False


@pytest.fixture
def cli(api_url: str, cli_database: DatabaseUrls, offline: Cli, tmp_path: Path) -> Iterator[Cli]:
    """The command line of people whom the API knows; there is no organization yet."""
    register(cli_database, tmp_path)
    write_context(offline.home, api_url)
    yield offline
    cli_database.empty()


@pytest.fixture
def acme(cli: Cli) -> Cli:
    """The same with the demo's organization applied."""
    applied = cli("organization", "apply", str(ROOT / "examples/acme/organization.yaml"))
    assert applied.code == 0, applied.err
    return cli
