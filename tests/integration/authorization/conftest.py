"""The world of the published table, built once: its tests read statuses, not states."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from controlplane.app import build_app
from controlplane.config import ApiSettings
from controlplane.core.db import Database
from proof.keys import encode_public, fingerprint
from tests.integration.api.conftest import KnownAccounts
from tests.integration.authorization.world import World, build
from tests.postgres import DatabaseUrls


@pytest.fixture(scope="package")
def world(
    migrated_database: DatabaseUrls, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """The real application with two organizations and a caller for each role and place."""
    folder = tmp_path_factory.mktemp("authorization")
    url_file = folder / "database-url"
    url_file.write_text(migrated_database.api)
    key = Ed25519PrivateKey.generate()
    settings = ApiSettings(
        database_url_file=url_file,
        control_plane_public_key=encode_public(key),
        control_plane_fingerprint=fingerprint(key),
        release_fingerprint=fingerprint(key),
    )
    app = build_app(settings, Database.connect(migrated_database.api, pool_size=4))
    app.state.accounts = KnownAccounts()
    migrated_database.empty()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield build(client, migrated_database, folder)
    migrated_database.empty()
