"""The API with sign-in by an issuer that can misbehave, and browsers with cookies of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from controlplane.app import build_app
from controlplane.config import ApiSettings
from controlplane.core.db import Database
from proof.keys import encode_public, fingerprint
from sandbox.home import Home
from tests.integration.api.conftest import KnownAccounts
from tests.integration.api.people import Person, organization, register, token_of
from tests.integration.sign_in.issuer import CLI_CLIENT, CLIENT, ISSUER, Issuer, IssuerServer
from tests.integration.sign_in.live import Live, LiveProcesses, Visitor
from tests.postgres import DatabaseUrls, PostgresServer, migrated

PUBLIC_URL = "https://ringfence.test"
ACME = {"organization": "acme"}


class Browser:
    """One browser: cookies of its own, redirects followed by hand."""

    def __init__(self, app: FastAPI, issuer: Issuer) -> None:
        self.http = TestClient(
            app, base_url=PUBLIC_URL, follow_redirects=False, raise_server_exceptions=False
        )
        self.issuer = issuer

    def start(self, return_to: str = "/home", **query: str) -> str:
        """Begin to sign in and return where the browser was sent."""
        answer = self.http.get(
            "/v1/sign-in/start", params={"return_to": return_to, **ACME, **query}
        )
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def come_back(self, parameters: dict[str, str]) -> Any:
        """Follow the provider's redirect."""
        return self.http.get(f"/v1/sign-in/callback?{urlencode(parameters)}")

    def sign_in(self, subject: str = "sam@acme.test") -> Any:
        """Sign in from start to end and return the callback's answer."""
        return self.come_back(self.issuer.authorize(self.start(), subject))

    def session(self) -> dict[str, Any]:
        """Ask for this browser's session."""
        found: dict[str, Any] = self.http.get("/v1/session").json()
        return found

    def change(self, **headers: str | None) -> Any:
        """Make a change as our own page does; a header given as None is left out."""
        token = self.session()["csrf_token"] or ""
        sent: dict[str, str | None] = {"Ringfence-CSRF": token, "Origin": PUBLIC_URL}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(
            "/v1/organizations:validate",
            json=organization(),
            headers={name: value for name, value in sent.items() if value is not None},
        )


class AuditTrail:
    """What the audit says, read as the database's administrator."""

    def __init__(self, url: str) -> None:
        self._database = Database.connect(url, pool_size=1)

    def details(self, code: str) -> list[dict[str, Any]]:
        """Return the details of all events with a code, in their order."""
        with self._database.engine.connect() as connection:
            rows = connection.execute(
                text("SELECT detail FROM audit_event WHERE code = :code ORDER BY at"),
                {"code": code},
            )
            return [row.detail for row in rows]

    def everything(self) -> str:
        """Return all events as text, to look for what must not be in them."""
        with self._database.engine.connect() as connection:
            rows = connection.execute(text("SELECT to_jsonb(e)::text FROM audit_event e"))
            return "\n".join(rows.scalars())

    def run(self, statement: str, **values: Any) -> Any:
        """Run a statement past row-level security and return its rows, if it gives any."""
        with self._database.engine.begin() as connection:
            done = connection.execute(text(statement), values)
            return done.all() if done.returns_rows else None

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """An honest issuer until a test bends it."""
    made = Issuer(client_keys=lambda: {"keys": []})
    server = IssuerServer(made)
    yield made
    server.close()


@pytest.fixture
def app(database: DatabaseUrls, issuer: Issuer, tmp_path: Path) -> Iterator[FastAPI]:
    """The API with sign-in set up by its operator, and the demo's people."""
    register(database, tmp_path)
    url_file, key_file = tmp_path / "database-url", tmp_path / "sign-in-key.pem"
    url_file.write_text(database.api)
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    providers = tmp_path / "providers.json"
    entry = {
        "issuer": ISSUER,
        "metadata_url": issuer.metadata_url,
        "client_id": CLIENT,
        "cli_client_id": CLI_CLIENT,
        "groups_claim": "groups",
        "person_key_claim": "employee_number",
    }
    providers.write_text(json.dumps([entry]))
    key = Ed25519PrivateKey.generate()
    settings = ApiSettings(
        database_url_file=url_file,
        control_plane_public_key=encode_public(key),
        control_plane_fingerprint=fingerprint(key),
        release_fingerprint=fingerprint(Ed25519PrivateKey.generate()),
        public_url=PUBLIC_URL,
        sign_in_key_file=key_file,
        sign_in_providers_file=providers,
    )
    opened = Database.connect(database.api, pool_size=4)
    made = build_app(settings, opened)
    made.state.accounts = KnownAccounts()
    issuer.client_keys = made.state.sign_in.key_set
    yield made
    opened.close()


@pytest.fixture
def trail(database: DatabaseUrls) -> Iterator[AuditTrail]:
    """The audit of the database under test."""
    opened = AuditTrail(database.admin)
    yield opened
    opened.close()


@pytest.fixture
def acme(app: FastAPI) -> Person:
    """The demo organization, applied by its architect, who is returned with a bearer token."""
    sam = Person(TestClient(app), token_of("sam@acme.test"))
    answer = sam.put("/v1/organizations/acme", organization())
    assert answer.status_code == 200, answer.text
    return sam


@pytest.fixture
def open_browser(app: FastAPI, issuer: Issuer, acme: Person) -> Callable[[], Browser]:
    """Return a fresh browser at each call; the organization is there."""
    return lambda: Browser(app, issuer)


@pytest.fixture
def browser(open_browser: Callable[[], Browser]) -> Browser:
    """One browser."""
    return open_browser()


@pytest.fixture(scope="session")
def processes(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveProcesses, Live]]:
    """The API and the provider, with the demo's people and organization."""
    folder = tmp_path_factory.mktemp("live")
    urls: DatabaseUrls = migrated(postgres)
    register(urls, folder)
    started = LiveProcesses(Home(folder / "home"), urls.api)
    try:
        live = started.start()
        answer = httpx2.put(
            f"{live.api_url}/v1/organizations/acme",
            json=organization(),
            headers={"Authorization": f"Bearer {token_of('sam@acme.test')}"},
            trust_env=False,
        )
        # Accounts are looked up in the cloud; without one the file is refused for that alone.
        assert answer.status_code in (200, 400), answer.text
        yield started, live
    finally:
        started.stop()


@pytest.fixture
def live(processes: tuple[LiveProcesses, Live]) -> Live:
    """Where the two answer."""
    return processes[1]


@pytest.fixture
def visitor() -> Iterator[Visitor]:
    """A fresh browser."""
    opened = Visitor()
    yield opened
    opened.http.close()
