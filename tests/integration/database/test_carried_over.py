"""What of before waivers is carried over: guests get an end, a secret of one part opens nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from alembic import command

from controlplane.migrate import alembic_config
from sandbox import postgres as embedded
from tests.postgres import PostgresServer

SEED = """
SET session_replication_role = replica;
INSERT INTO organization (id, name, display_name, document, document_digest)
  VALUES ('00000000-0000-0000-0000-00000000000a', 'acme', 'Acme', '{}', 'sha256:x');
INSERT INTO boundary (organization_id, id, name, display_name, target, blueprint,
    blueprint_version, inputs)
  SELECT id, '00000000-0000-0000-0000-00000000000b', 'payments', 'Payments', '{}', 'b', '1.0.0',
    '{}' FROM organization;
INSERT INTO principal (id, issuer, subject, kind, display)
  SELECT md5(s)::uuid, 'https://idp.vendor.example', s, 'human', s
  FROM unnest(ARRAY['let-in', 'waiting', 'max']) s;
INSERT INTO guest_assignment (organization_id, id, principal_id, requested_by, approved_by,
    approved_at)
  SELECT o.id, gen_random_uuid(), p.id, md5('max')::uuid,
    CASE p.subject WHEN 'let-in' THEN md5('max')::uuid END,
    CASE p.subject WHEN 'let-in' THEN now() - interval '1 year' END
  FROM organization o, principal p WHERE p.subject <> 'max';
INSERT INTO role_assignment (organization_id, id, principal_id, role, valid_from, reason)
  SELECT o.id, gen_random_uuid(), p.id, 'auditor', now(), 'test' FROM organization o, principal p;
INSERT INTO gateway_key (organization_id, boundary_id, id, group_id, owner_id, key_hash, expires_at)
  SELECT b.organization_id, b.id, gen_random_uuid(), gen_random_uuid(), p.id, p.subject,
    now() + interval '80 days' FROM boundary b, principal p WHERE p.subject <> 'waiting';
INSERT INTO break_glass_seal (id, secret_hash, opened_at, opened_by, ends_at)
  VALUES (gen_random_uuid(), 'unused', NULL, NULL, NULL),
    (gen_random_uuid(), 'used', now() - interval '1 day', md5('max')::uuid, now());
"""


@pytest.fixture
def carried_over(postgres: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    """A database with guests, migrated from before waivers to now; as its administrator."""
    name = postgres.create_database()
    owner = alembic_config(postgres.url(embedded.OWNER, name))
    command.upgrade(owner, "0009")
    with psycopg.connect(postgres.url("postgres", name)) as connection:
        connection.execute(SEED)
    command.upgrade(owner, "head")
    with psycopg.connect(postgres.url("postgres", name)) as connection:
        yield connection


def test_guests_become_waivers_with_an_end(carried_over: psycopg.Connection[Any]) -> None:
    rows = carried_over.execute(
        "SELECT p.subject, w.state, w.carried_over, w.first_approver IS NOT NULL,"
        " w.second_approver, w.ends_at - w.starts_at = interval '30 days'"
        " FROM waiver w JOIN principal p ON p.id = w.principal_id ORDER BY p.subject"
    ).fetchall()
    assert rows == [
        ("let-in", "approved", True, True, None, True),
        ("waiting", "requested", False, False, None, True),
    ]


def test_roles_and_keys_of_a_guest_go_on_until_that_end(
    carried_over: psycopg.Connection[Any],
) -> None:
    pending = carried_over.execute(
        "SELECT p.subject, r.pending_guest, r.waiver_ends_at IS NOT NULL"
        " FROM principal p, principal_roles(p.id) r ORDER BY p.subject"
    ).fetchall()
    assert pending == [("let-in", False, True), ("max", True, False), ("waiting", True, False)]
    keys = carried_over.execute(
        "SELECT k.key_hash, k.expires_at < now() + interval '31 days' FROM gateway_key k"
        " ORDER BY k.key_hash"
    ).fetchall()
    assert keys == [("let-in", True), ("max", False)]


def test_an_unused_secret_of_one_part_is_replaced_by_none(
    carried_over: psycopg.Connection[Any],
) -> None:
    rows = carried_over.execute(
        "SELECT secret_hash, replaced_at IS NOT NULL, second_custodian = md5('max')::uuid"
        " FROM break_glass_seal ORDER BY secret_hash"
    ).fetchall()
    assert rows == [("unused", True, None), ("used", False, True)]
    assert carried_over.execute("SELECT sealed FROM break_glass_state()").fetchone() == (False,)
