"""Row-level security as the migrations write it: one call per table, by class of table.

Used by migrations only, in the migration that creates a table. Policies read three settings that
`core.db.apply_scope` sets for one transaction: `app.organization`, `app.boundaries`,
`app.platform`. The functions that read them raise when a setting is missing, so that a session
without a scope cannot be mistaken for one that sees nothing.

Functions that must see across tenants (who am I, claim a run) are SECURITY DEFINER, return ids,
belong to the owner, and switch on `app.directory` for their transaction; `directory_policy` opens
chosen tables to the owner under that switch only. For any other role the switch does nothing, and
the owner's own sessions (migrations) are held by the same rules as everyone's.
"""

from __future__ import annotations

import re
from typing import Literal

from alembic import op

PROCESS_ROLES = ("ringfence_api", "ringfence_worker", "ringfence_scheduler")
OWNER = "ringfence_owner"
AUDITOR = "ringfence_auditor"
"""Reads what reports need, under the same rules; the role exists before the first migration."""

ORGANIZATION_ROOT_RULE = "id = (SELECT app_organization())"
BOUNDARY_ROOT_RULE = (
    "organization_id = (SELECT app_organization()) AND id = ANY ((SELECT app_boundaries())::uuid[])"
)
BOUNDARY_RULE = (
    "organization_id = (SELECT app_organization())"
    " AND boundary_id = ANY ((SELECT app_boundaries())::uuid[])"
)
ORGANIZATION_RULE = "organization_id = (SELECT app_organization())"
PLATFORM_RULE = "(SELECT app_platform())"
CHAIN_RULE = (
    "CASE WHEN organization_id IS NULL THEN app_platform()"
    " WHEN boundary_id IS NULL THEN organization_id = app_organization()"
    " ELSE organization_id = app_organization() AND boundary_id = ANY (app_boundaries()) END"
)

SETTINGS_SQL = """
CREATE FUNCTION app_organization() RETURNS uuid LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE value text := current_setting('app.organization', true);
BEGIN
  IF value IS NULL OR value = '' THEN
    RAISE EXCEPTION 'no organization in the scope of this transaction' USING ERRCODE = '42501';
  END IF;
  RETURN value::uuid;
END $$;

CREATE FUNCTION app_boundaries() RETURNS uuid[] LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE value text := current_setting('app.boundaries', true);
BEGIN
  IF value IS NULL OR value = '' THEN
    RAISE EXCEPTION 'no boundaries in the scope of this transaction' USING ERRCODE = '42501';
  END IF;
  RETURN value::uuid[];
END $$;

CREATE FUNCTION app_platform() RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
  IF current_setting('app.platform', true) IS DISTINCT FROM 'on' THEN
    RAISE EXCEPTION 'this transaction has no platform scope' USING ERRCODE = '42501';
  END IF;
  RETURN true;
END $$;
"""


_secured: dict[str, str] = {}
"""Rules of the tables secured so far in this run."""


def _secure(table: str, rule: str) -> None:
    op.execute(f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY')
    op.execute(f'ALTER TABLE "{table}" FORCE ROW LEVEL SECURITY')
    _secured[table] = rule
    roles = ", ".join(PROCESS_ROLES)
    op.execute(f'CREATE POLICY tenant ON "{table}" TO {roles} USING ({rule}) WITH CHECK ({rule})')
    op.execute(f'CREATE POLICY auditor ON "{table}" FOR SELECT TO {AUDITOR} USING ({rule})')
    held = _checked_per_row(rule)
    op.execute(f'CREATE POLICY owner ON "{table}" TO {OWNER} USING ({held}) WITH CHECK ({held})')


def _checked_per_row(rule: str) -> str:
    """Return a rule without sub-selects, for the owner's policies.

    A sub-select is evaluated once per statement, which is what processes need. When two statements
    meet on one row, PostgreSQL checks the row again (EvalPlanQual) and evaluates every sub-select
    then, needed or not: inside a directory function, where there is no scope, that would raise.
    """
    return re.sub(r"\(SELECT (app_\w+\(\))\)", r"\1", rule)


def secure_boundary_table(table: str) -> None:
    """Give a table with (organization_id, boundary_id) its policy."""
    _secure(table, BOUNDARY_RULE)


def secure_organization_table(table: str) -> None:
    """Give a table with organization_id its policy."""
    _secure(table, ORGANIZATION_RULE)


def secure_platform_table(table: str, *, readable: bool = False) -> None:
    """Give a platform table its policy; `readable` opens SELECT to every scope."""
    _secure(table, PLATFORM_RULE)
    if readable:
        for policy in ("tenant", "auditor"):
            op.execute(f'ALTER POLICY {policy} ON "{table}" USING (true)')


def secure_with(table: str, rule: str) -> None:
    """Give a table a policy of its own (chains, roots, queues)."""
    _secure(table, rule)


def directory_policy(
    table: str, command: Literal["SELECT", "ALL"] = "SELECT", rule: str | None = None
) -> None:
    """Open a secured table to the owner inside directory functions, and nowhere else.

    `rule` is the table's own rule again; needed only when another migration secured it. One policy
    with CASE and not two: the alternatives of several policies are evaluated in no fixed order,
    and the tenant rule raises without a scope.
    """
    rule = _checked_per_row(rule or _secured[table])
    opened = f"CASE WHEN current_setting('app.directory', true) = 'on' THEN true ELSE {rule} END"
    check = opened if command == "ALL" else rule
    op.execute(f'ALTER POLICY owner ON "{table}" USING ({opened}) WITH CHECK ({check})')


def directory_function(signature: str, returns: str, body: str, callers: tuple[str, ...]) -> None:
    """Create a SECURITY DEFINER function that only `callers` may execute.

    `signature` is `name(arguments with types)`; `body` is PL/pgSQL between BEGIN and END.
    """
    op.execute(
        f"CREATE FUNCTION {signature} RETURNS {returns} LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = public, pg_temp AS $directory$ BEGIN"
        " PERFORM set_config('app.directory', 'on', true);"
        f" {body} END $directory$"
    )
    op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    for caller in callers:
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {caller}")


def grant(table: str, rights: str, *roles: str) -> None:
    """Grant `rights` (`SELECT, INSERT`) on a table to process roles; no role has more."""
    for role in roles or PROCESS_ROLES:
        op.execute(f'GRANT {rights} ON "{table}" TO {role}')


def grant_reading(table: str, *hidden: str) -> None:
    """Let the auditor read a table but for its `hidden` columns.

    By column, so that a column of a later migration stays closed until that migration opens it.
    """
    secret = ", ".join(f"'{column}'" for column in ("", *hidden))
    op.execute(
        f"""
        DO $grant$ BEGIN EXECUTE (
          SELECT format('GRANT SELECT (%s) ON {table} TO {AUDITOR}',
                        string_agg(quote_ident(attname), ', ' ORDER BY attnum))
          FROM pg_attribute
          WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped
            AND attname NOT IN ({secret})
        ); END $grant$
        """  # noqa: S608 - names from the migration's own text
    )
