"""The API on a real database, with the demo's people and, on request, its organization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from controlplane.app import build_app
from controlplane.config import ApiSettings
from controlplane.core.db import Database
from proof.keys import encode_public, fingerprint
from tests.integration.api.agents import agent, boundary
from tests.integration.api.people import Person, organization, register, token_of
from tests.postgres import DatabaseUrls

__all__ = ["agent", "boundary"]
"""Fixtures of `agents`, which pytest finds here."""

PersonOf = Callable[[str], Person]


class KnownAccounts:
    """Stands for the rehearsal account's list: the demo's account exists, others do not."""

    def list_accounts(self) -> frozenset[str] | None:
        """Return the accounts that exist."""
        return frozenset({"111122223333", "999988887777"})


@pytest.fixture(scope="session")
def control_plane_key() -> Ed25519PrivateKey:
    """The control-plane key of these tests."""
    return Ed25519PrivateKey.generate()


@pytest.fixture
def api_database(database: DatabaseUrls) -> Iterator[Database]:
    """The database as the API's role sees it."""
    opened = Database.connect(database.api, pool_size=4)
    yield opened
    opened.close()


@pytest.fixture
def client(
    database: DatabaseUrls,
    api_database: Database,
    control_plane_key: Ed25519PrivateKey,
    tmp_path: Path,
) -> Iterator[TestClient]:
    """The API with registered people, blueprint and models, and no organization yet."""
    register(database, tmp_path)
    url_file = tmp_path / "database-url"
    url_file.write_text(database.api)
    settings = ApiSettings(
        database_url_file=url_file,
        control_plane_public_key=encode_public(control_plane_key),
        control_plane_fingerprint=fingerprint(control_plane_key),
        release_fingerprint=fingerprint(Ed25519PrivateKey.generate()),
    )
    app = build_app(settings, api_database)
    app.state.accounts = KnownAccounts()
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def person(client: TestClient) -> PersonOf:
    """Return a caller by the part of the subject before the @."""
    return lambda name: Person(client, token_of(f"{name}@acme.test"))


@pytest.fixture
def acme(person: PersonOf) -> PersonOf:
    """The demo organization applied by the architect; returns the callers."""
    answer = person("sam").put("/v1/organizations/acme", organization())
    assert answer.status_code == 200, answer.text
    return person
