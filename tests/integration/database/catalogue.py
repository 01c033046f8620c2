"""The rules of the second wall as queries on PostgreSQL's catalogue; each names what breaks it.

Used by `test_catalogue.py`, which runs every rule on the migrated database and then on one that
breaks it. Separate so that the rules read as one list. A table's class is read from its columns,
not from the metadata: `boundary_id` not null is a boundary's table, `organization_id` not null an
organization's. Source: access.md 5, decision 18.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]
Rule = Callable[[Connection], list[str]]

PROCESS_ROLES = ("ringfence_api", "ringfence_worker", "ringfence_scheduler")
AUDITOR = "ringfence_auditor"
DEFINERS = Path(__file__).with_name("definer_functions.json")
"""What may see across tenants: each function with what it returns, to whom, and why."""
UNIQUE_ACROSS_TENANTS = {
    "uq_identity_provider_issuer": "an issuer vouches for the people of one organization only",
}
SECRET_COLUMN = r"(^|_)(token_hash|key_hash|secret|password|external_id|secret_hash|salt)$"

_TENANT = """
WITH tenant AS (
  SELECT c.oid, c.relname,
    bool_or(a.attname = 'boundary_id' AND a.attnotnull) AS in_boundary
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
  WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
  GROUP BY c.oid, c.relname
  HAVING bool_or(a.attname = 'organization_id' AND a.attnotnull)
)
"""


def _ask(connection: Connection, query: str, *values: Any) -> list[str]:
    return [str(row[0]) for row in connection.execute(query, values).fetchall()]


def tables_without_forced_security(connection: Connection) -> list[str]:
    """Every table is under row-level security, and its owner too."""
    return _ask(
        connection,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p') AND relname <> 'alembic_version'"
        " AND NOT (relrowsecurity AND relforcerowsecurity)",
    )


def tables_without_a_policy_for_a_role(connection: Connection) -> list[str]:
    """Each process role and the auditor have a policy on every table, and nobody else has one."""
    return _ask(
        connection,
        """
        SELECT c.relname || ' for ' || r.rolname FROM pg_class c CROSS JOIN pg_roles r
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
          AND c.relname <> 'alembic_version' AND r.rolname = ANY (%s)
          AND NOT EXISTS (SELECT 1 FROM pg_policy p
                          WHERE p.polrelid = c.oid AND r.oid = ANY (p.polroles))
        UNION ALL
        SELECT c.relname || ' for everybody' FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        WHERE 0 = ANY (p.polroles)
        """,
        [*PROCESS_ROLES, AUDITOR],
    )


def policies_without_the_scope(connection: Connection) -> list[str]:
    """A tenant table's policy for a process compares the row with the transaction's scope."""
    return _ask(
        connection,
        _TENANT
        + """
        SELECT t.relname || ': ' || p.polname FROM tenant t JOIN pg_policy p ON p.polrelid = t.oid
        WHERE p.polname <> 'owner' AND (
          pg_get_expr(p.polqual, p.polrelid) NOT LIKE '%%organization_id = %%app_organization()%%'
          OR t.in_boundary AND pg_get_expr(p.polqual, p.polrelid)
             NOT LIKE '%%boundary_id = ANY %%app_boundaries()%%'
          OR p.polcmd = '*' AND pg_get_expr(p.polqual, p.polrelid)
             IS DISTINCT FROM pg_get_expr(p.polwithcheck, p.polrelid)
          OR NOT p.polpermissive)
        UNION ALL
        SELECT t.relname || ' has ' || count(*) || ' policies for ' || r.rolname
        FROM tenant t JOIN pg_policy p ON p.polrelid = t.oid
        JOIN pg_roles r ON r.oid = ANY (p.polroles)
        GROUP BY t.relname, r.rolname HAVING count(*) > 1
        """,
    )


def roles_with_too_much_power(connection: Connection) -> list[str]:
    """No process is superuser, bypasses policies, makes roles, is the owner, or owns anything."""
    return _ask(
        connection,
        """
        SELECT rolname FROM pg_roles WHERE rolname LIKE 'ringfence\\_%%'
          AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)
        UNION ALL
        SELECT r.rolname || ' owns ' || c.relname FROM pg_class c
        JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = ANY (%s)
        UNION ALL
        SELECT m.rolname || ' is a member of ' || g.rolname FROM pg_auth_members a
        JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid
        WHERE m.rolname = ANY (%s)
        UNION ALL
        SELECT r.rolname || ' may create in ' || n.nspname FROM pg_roles r, pg_namespace n
        WHERE r.rolname = ANY (%s) AND n.nspname = 'public'
          AND has_schema_privilege(r.oid, n.oid, 'CREATE')
        """,
        *[[*PROCESS_ROLES, AUDITOR]] * 3,
    )


def views_with_their_owners_rights(connection: Connection) -> list[str]:
    """A view asks with the caller's rights; a materialized one would keep everybody's rows."""
    return _ask(
        connection,
        """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
          AND (relkind = 'm' OR relkind = 'v' AND NOT coalesce(
            reloptions::text[] && ARRAY['security_invoker=true', 'security_invoker=on'], false))
        """,
    )


def unique_keys_across_tenants(connection: Connection) -> list[str]:
    """A unique key of a boundary's table starts with the boundary: else a clash tells of a row."""
    return _ask(
        connection,
        _TENANT
        + """
        SELECT i.indexrelid::regclass::text FROM tenant t JOIN pg_index i ON i.indrelid = t.oid
        LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
        WHERE i.indisunique AND i.indexrelid::regclass::text <> ALL (%s)
          AND a.attname IS DISTINCT FROM
              CASE WHEN t.in_boundary THEN 'boundary_id' ELSE 'organization_id' END
        """,
        list(UNIQUE_ACROSS_TENANTS),
    )


def loose_foreign_keys(connection: Connection) -> list[str]:
    """A reference between tenants' tables carries organization or boundary on both sides."""
    return _ask(
        connection,
        _TENANT
        + """
        SELECT k.conname FROM pg_constraint k
        JOIN tenant target ON target.oid = k.confrelid
        LEFT JOIN tenant source ON source.oid = k.conrelid
        WHERE k.contype = 'f' AND NOT EXISTS (
          SELECT 1 FROM unnest(k.conkey, k.confkey) AS pair(mine, theirs)
          JOIN pg_attribute m ON m.attrelid = k.conrelid AND m.attnum = pair.mine
          JOIN pg_attribute t ON t.attrelid = k.confrelid AND t.attnum = pair.theirs
          WHERE m.attname = t.attname AND m.attname =
            CASE WHEN target.in_boundary AND source.in_boundary THEN 'boundary_id'
                 ELSE 'organization_id' END)
        UNION ALL
        SELECT t.relname || ' does not refer to its ' ||
               CASE WHEN t.in_boundary THEN 'boundary' ELSE 'organization' END
        FROM tenant t WHERE NOT EXISTS (
          SELECT 1 FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = t.oid
            AND k.confrelid = CASE WHEN t.in_boundary THEN 'boundary'::regclass
                                   ELSE 'organization'::regclass END)
        """,
    )


def rows_of_one_chain_in_another(connection: Connection) -> list[str]:
    """A chain's row is of the chain that its boundary or organization says."""
    return _ask(
        connection,
        """
        SELECT a.attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.attname = 'chain_id' AND c.relkind = 'r' AND NOT a.attisdropped
          AND c.relnamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT 1 FROM pg_constraint k
            WHERE k.conrelid = c.oid AND k.contype = 'c'
              AND pg_get_constraintdef(k.oid) ILIKE '%%chain_id = COALESCE(boundary_id,%%')
          AND NOT EXISTS (SELECT 1 FROM pg_constraint k
            WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid = 'audit_event'::regclass)
        """,
    )


def definer_functions(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return every function that runs with the owner's rights: what it returns, and to whom."""
    rows = connection.execute(
        """
        SELECT p.oid::regprocedure::text, pg_get_function_result(p.oid),
          (SELECT array_agg(r.rolname::text ORDER BY r.rolname) FROM pg_roles r
           WHERE r.rolname = ANY (%s) AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))
        FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace
        """,
        [[*PROCESS_ROLES, AUDITOR]],
    ).fetchall()
    return {name: {"returns": returns, "callers": callers or []} for name, returns, callers in rows}


def unlisted_definer_functions(connection: Connection) -> list[str]:
    """A function that sees across tenants is listed with exactly what it gives to whom."""
    listed = json.loads(DEFINERS.read_text())
    found = definer_functions(connection)
    known = {
        name: {"returns": entry["returns"], "callers": entry["callers"]}
        for name, entry in listed.items()
    }
    wrong = [
        f"{name} is to be listed with its reason: {json.dumps(entry)}"
        for name, entry in found.items()
        if known.get(name) != entry
    ]
    return wrong + [f"{name} is listed and not there" for name in known.keys() - found.keys()]


def unsafe_definer_functions(connection: Connection) -> list[str]:
    """A function with the owner's rights fixes where it looks up names and is not for PUBLIC."""
    return _ask(
        connection,
        """
        SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace AND (
          NOT coalesce(p.proconfig @> ARRAY['search_path=public, pg_temp'], false)
          OR EXISTS (SELECT 1 FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g
                     WHERE g.grantee = 0))
        """,
    )


def owner_policies_that_break_on_a_recheck(connection: Connection) -> list[str]:
    """The owner's policies hold no sub-select: a re-check under contention would evaluate it."""
    return _ask(
        connection,
        """
        SELECT p.polrelid::regclass::text FROM pg_policy p WHERE p.polname = 'owner'
          AND concat(pg_get_expr(p.polqual, p.polrelid),
                     pg_get_expr(p.polwithcheck, p.polrelid)) ~ '\\( *SELECT app_'
        """,
    )


def rights_of_the_auditor_beyond_reading(connection: Connection) -> list[str]:
    """The auditor's role reads, and no secret's hash; by default its transactions only read."""
    return _ask(
        connection,
        """
        SELECT c.relname || ': ' || w FROM pg_class c
        CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER',
                                'REFERENCES']) w
        WHERE c.relkind IN ('r', 'p', 'v') AND c.relnamespace = 'public'::regnamespace
          AND (has_table_privilege(%s, c.oid, w) OR w IN ('INSERT', 'UPDATE', 'REFERENCES')
               AND has_any_column_privilege(%s, c.oid, w))
        UNION ALL
        SELECT c.relname || '.' || a.attname FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relkind IN ('r', 'p', 'v') AND c.relnamespace = 'public'::regnamespace
          AND a.attname ~ %s AND has_column_privilege(%s, c.oid, a.attnum, 'SELECT')
        UNION ALL
        SELECT 'its transactions may write' FROM pg_roles
        WHERE rolname = %s
          AND NOT coalesce(rolconfig @> ARRAY['default_transaction_read_only=on'], false)
        """,
        AUDITOR,
        AUDITOR,
        SECRET_COLUMN,
        AUDITOR,
        AUDITOR,
    )


RULES: tuple[Rule, ...] = (
    tables_without_forced_security,
    tables_without_a_policy_for_a_role,
    policies_without_the_scope,
    roles_with_too_much_power,
    views_with_their_owners_rights,
    unique_keys_across_tenants,
    loose_foreign_keys,
    rows_of_one_chain_in_another,
    unlisted_definer_functions,
    unsafe_definer_functions,
    owner_policies_that_break_on_a_recheck,
    rights_of_the_auditor_beyond_reading,
)
