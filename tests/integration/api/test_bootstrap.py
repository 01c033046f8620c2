"""Registering people, blueprints and models: idempotent, immutable, and without a leak."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from controlplane import bootstrap
from controlplane.core.errors import ConflictError
from tests.integration.api.people import ISSUER, PEOPLE, manifest, register
from tests.postgres import DatabaseUrls


def people_file(folder: Path, token: str, role: str = "approver", mode: int = 0o600) -> Path:
    """Write a people file with one person."""
    path = folder / "one.json"
    path.touch(mode=mode)
    path.chmod(mode)
    person = {"issuer": ISSUER, "subject": "ana@acme.test", "display": "Ana", "role": role}
    path.write_text(json.dumps([{**person, "token": token}]))
    return path


def test_registering_twice_makes_nothing_twice(database: DatabaseUrls, tmp_path: Path) -> None:
    register(database, tmp_path)
    register(database, tmp_path)
    with psycopg.connect(database.admin) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            for table in ("principal", "api_token", "blueprint_version", "offered_model")
        ]
        platform = connection.execute("SELECT role FROM platform_role ORDER BY role").fetchall()
    assert counts == [(len(PEOPLE),), (len(PEOPLE),), (1,), (3,)]
    assert platform == [("platform-admin",), ("solution-architect",)]


def test_a_changed_token_ends_the_old_one(database: DatabaseUrls, tmp_path: Path) -> None:
    for token in ("a" * 43, "b" * 43):
        bootstrap.run(database.owner, people_file(tmp_path, token), None, None)
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT revoked_at IS NULL FROM api_token ORDER BY created_at"
        ).fetchall()
    assert rows == [(False,), (True,)]


def test_a_role_that_no_longer_counts_at_the_platform_ends(
    database: DatabaseUrls, tmp_path: Path
) -> None:
    for role in ("platform-admin", "approver"):
        bootstrap.run(database.owner, people_file(tmp_path, "a" * 43, role), None, None)
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute("SELECT valid_until IS NULL FROM platform_role").fetchall()
    assert rows == [(False,)]


def test_a_registered_blueprint_version_never_changes(
    database: DatabaseUrls, tmp_path: Path
) -> None:
    register(database, tmp_path)
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps([{**manifest(), "digest": "sha256:" + "0" * 64}]))
    with pytest.raises(ConflictError, match="is registered with digest"):
        bootstrap.run(database.owner, None, changed, None)


def test_a_file_that_others_can_read_is_refused(database: DatabaseUrls, tmp_path: Path) -> None:
    path = people_file(tmp_path, "a" * 43, mode=0o644)
    with pytest.raises(bootstrap.BootstrapError, match="chmod 600"):
        bootstrap.run(database.owner, path, None, None)


def test_a_short_token_is_refused_by_place_and_never_shown(
    database: DatabaseUrls, tmp_path: Path
) -> None:
    with pytest.raises(bootstrap.BootstrapError) as caught:
        bootstrap.run(database.owner, people_file(tmp_path, "hunter2"), None, None)
    assert "0.token" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_command_line_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["bootstrap"])
    monkeypatch.delenv("RINGFENCE_OWNER_DATABASE_URL_FILE", raising=False)
    assert bootstrap.main() == 2
    assert "RINGFENCE_OWNER_DATABASE_URL_FILE is not set" in capsys.readouterr().err
    monkeypatch.setenv("RINGFENCE_OWNER_DATABASE_URL_FILE", str(tmp_path / "absent"))
    assert bootstrap.main() == 2
    assert "absent" in capsys.readouterr().err
