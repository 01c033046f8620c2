"""The database keeps the rules of the second wall, and each rule sees what breaks it."""

from __future__ import annotations

import json
from importlib import import_module

import psycopg
import pytest

from tests.integration.database import catalogue
from tests.integration.database.catalogue import RULES, Rule
from tests.postgres import DatabaseUrls

SECURED = """
  ALTER TABLE stray ENABLE ROW LEVEL SECURITY; ALTER TABLE stray FORCE ROW LEVEL SECURITY;
"""
PLACED = """
  CREATE TABLE stray (organization_id uuid NOT NULL, boundary_id uuid NOT NULL, id uuid NOT NULL,
    other uuid, PRIMARY KEY (boundary_id, id),
    FOREIGN KEY (organization_id, boundary_id) REFERENCES boundary (organization_id, id));
"""
RULE = "organization_id = (SELECT app_organization()) AND boundary_id = ANY (app_boundaries())"
TENANT = "CREATE POLICY tenant ON stray TO ringfence_api"

BREAKS: list[tuple[Rule, str]] = [
    (catalogue.tables_without_forced_security, PLACED),
    (
        catalogue.tables_without_forced_security,
        PLACED + "ALTER TABLE stray ENABLE ROW LEVEL SECURITY",
    ),
    (catalogue.tables_without_a_policy_for_a_role, PLACED + SECURED),
    (catalogue.tables_without_a_policy_for_a_role, "CREATE POLICY x ON install USING (true)"),
    (
        catalogue.policies_without_the_scope,
        PLACED + f"{TENANT} USING (organization_id = app_organization())",
    ),
    (
        catalogue.policies_without_the_scope,
        PLACED + f"{TENANT} USING ({RULE}) WITH CHECK (true)",
    ),
    (
        catalogue.policies_without_the_scope,
        "CREATE POLICY more ON install TO ringfence_api USING (true)",
    ),
    (catalogue.roles_with_too_much_power, "ALTER ROLE ringfence_worker BYPASSRLS"),
    (catalogue.roles_with_too_much_power, "ALTER TABLE install OWNER TO ringfence_api"),
    (catalogue.roles_with_too_much_power, "GRANT ringfence_owner TO ringfence_scheduler"),
    (catalogue.roles_with_too_much_power, "GRANT CREATE ON SCHEMA public TO ringfence_api"),
    (catalogue.views_with_their_owners_rights, "CREATE VIEW v AS SELECT * FROM install"),
    (
        catalogue.views_with_their_owners_rights,
        "CREATE MATERIALIZED VIEW m AS SELECT * FROM install",
    ),
    (catalogue.unique_keys_across_tenants, "CREATE UNIQUE INDEX u ON install (name)"),
    (
        catalogue.unique_keys_across_tenants,
        "CREATE UNIQUE INDEX u ON install (organization_id, name)",
    ),
    (catalogue.unique_keys_across_tenants, "CREATE UNIQUE INDEX u ON cloud_account (account)"),
    (
        catalogue.loose_foreign_keys,
        PLACED
        + "CREATE UNIQUE INDEX u ON install (id);"
        + "ALTER TABLE stray ADD FOREIGN KEY (other) REFERENCES install (id)",
    ),
    (
        catalogue.loose_foreign_keys,
        "CREATE UNIQUE INDEX u ON install (id);"
        "CREATE TABLE stray (id uuid PRIMARY KEY REFERENCES install (id))",
    ),
    (
        catalogue.loose_foreign_keys,
        "CREATE TABLE stray (organization_id uuid NOT NULL, boundary_id uuid NOT NULL)",
    ),
    (
        catalogue.rows_of_one_chain_in_another,
        "ALTER TABLE audit_event DROP CONSTRAINT ck_audit_event_own_chain",
    ),
    (
        catalogue.unlisted_definer_functions,
        "CREATE FUNCTION peek() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT ''x'''",
    ),
    (
        catalogue.unlisted_definer_functions,
        "GRANT EXECUTE ON FUNCTION foreign_external_id(uuid) TO ringfence_api",
    ),
    (
        catalogue.unlisted_definer_functions,
        "DROP FUNCTION open_grants()",
    ),
    (
        catalogue.unsafe_definer_functions,
        "GRANT EXECUTE ON FUNCTION organization_id_by_name(text) TO PUBLIC",
    ),
    (
        catalogue.unsafe_definer_functions,
        "ALTER FUNCTION organization_id_by_name(text) RESET search_path",
    ),
    (
        catalogue.owner_policies_that_break_on_a_recheck,
        "ALTER POLICY owner ON principal USING (CASE WHEN true THEN true"
        " ELSE (SELECT app_platform()) END)",
    ),
    (
        catalogue.rights_of_the_auditor_beyond_reading,
        "GRANT UPDATE (state) ON access_grant TO ringfence_auditor",
    ),
    (
        catalogue.rights_of_the_auditor_beyond_reading,
        "GRANT SELECT ON gateway_key TO ringfence_auditor",
    ),
    (
        catalogue.rights_of_the_auditor_beyond_reading,
        "ALTER ROLE ringfence_auditor RESET default_transaction_read_only",
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_database_keeps_the_rule(rule: Rule, database: DatabaseUrls) -> None:
    with psycopg.connect(database.admin) as connection:
        assert rule(connection) == [], rule.__doc__


@pytest.mark.parametrize(
    ("rule", "statement"),
    BREAKS,
    ids=[f"{rule.__name__}-{n}" for n, (rule, _) in enumerate(BREAKS)],
)
def test_the_rule_sees_what_breaks_it(rule: Rule, statement: str, database: DatabaseUrls) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(statement)
        found = rule(connection)
        connection.rollback()
    assert found, rule.__doc__


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {rule for rule, _ in BREAKS} == set(RULES)


def test_each_function_that_sees_across_tenants_says_why() -> None:
    listed = json.loads(catalogue.DEFINERS.read_text())
    assert len(listed) >= 10
    assert [name for name, entry in listed.items() if len(entry["because"]) < 20] == []


def test_the_auditor_reads_what_reports_need(database: DatabaseUrls) -> None:
    needed = ("role_assignment", "entitlement", "access_grant", "approval", "audit_event", "run")
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            "SELECT t FROM unnest(%s::text[]) t"
            " WHERE NOT has_any_column_privilege('ringfence_auditor', t, 'SELECT')",
            (list(needed),),
        ).fetchall()
        hidden = connection.execute(
            "SELECT t FROM unnest(ARRAY['api_token', 'principal', 'platform_role', 'outbox']) t"
            " WHERE has_any_column_privilege('ringfence_auditor', t, 'SELECT')"
        ).fetchall()
    assert found == hidden == []


def test_a_database_of_an_earlier_version_gets_the_policies_too(database: DatabaseUrls) -> None:
    """The tables that are there already, as the migrations before made them."""
    migration = import_module("controlplane.migrations.versions.0005_walls")
    trap = (
        "CASE WHEN current_setting('app.directory', true) = 'on' THEN true"
        " ELSE organization_id = (SELECT app_organization())"
        " AND boundary_id = ANY ((SELECT app_boundaries())::uuid[]) END"
    )
    with psycopg.connect(database.admin) as connection:
        for table in ("install", "role_assignment", "audit_event"):
            connection.execute(f"DROP POLICY auditor ON {table}")
        connection.execute(f"ALTER POLICY owner ON agent USING ({trap}) WITH CHECK ({trap})")
        before = [rule.__name__ for rule in RULES if rule(connection)]
        connection.execute(migration.POLICIES_SQL)
        after = [rule.__name__ for rule in RULES if rule(connection)]
        connection.rollback()
    assert before == [
        "tables_without_a_policy_for_a_role",
        "owner_policies_that_break_on_a_recheck",
    ]
    assert after == []
