"""Finish the walls: the auditor's own role, chains that hold their own rows, no re-check trap."""

from __future__ import annotations

from alembic import op

from controlplane.migrations import rls

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

READ_BY_THE_AUDITOR = (
    "role", "blueprint_version", "offered_model", "organization", "boundary",
    "identity_provider", "group_member", "role_assignment",
    "guest_assignment", "cloud_account", "connection_verification", "access_grant", "approval",
    "artifact", "model_version", "entitlement", "install", "install_revision", "certificate",
    "agent", "agent_status", "bundle", "verb", "usage_rollup", "audit_chain", "audit_event",
    "run", "step", "run_event",
)
WITHOUT_SECRETS = {
    "cloud_connection": ("external_id",),
    "gateway_key": ("key_hash",),
    "enrolment_token": ("token_hash",),
    "principal_group": ("external_id",),
}
OWN_CHAIN = (
    "chain_id = coalesce(boundary_id, organization_id, '00000000-0000-0000-0000-000000000000'::uuid)"
)

# Databases migrated before this one have no policy for the auditor, and sub-selects in the
# owner's policies (see rls._checked_per_row). Both are read from the catalogue, so that every
# table is covered, whichever migration made it.
POLICIES_SQL = r"""
DO $walls$
DECLARE found record;
BEGIN
  FOR found IN
    SELECT c.relname, pg_get_expr(p.polqual, p.polrelid) AS rule
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE p.polname = 'tenant' AND c.relnamespace = 'public'::regnamespace
      AND NOT EXISTS (SELECT 1 FROM pg_policy a
                      WHERE a.polrelid = p.polrelid AND a.polname = 'auditor')
  LOOP
    EXECUTE format('CREATE POLICY auditor ON %I FOR SELECT TO ringfence_auditor USING (%s)',
                   found.relname, found.rule);
  END LOOP;
  FOR found IN
    SELECT c.relname,
      regexp_replace(pg_get_expr(p.polqual, p.polrelid),
                     '\( SELECT (app_\w+\(\)) AS app_\w+\)', '\1', 'g') AS rule,
      regexp_replace(pg_get_expr(p.polwithcheck, p.polrelid),
                     '\( SELECT (app_\w+\(\)) AS app_\w+\)', '\1', 'g') AS checked
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
    WHERE p.polname = 'owner' AND c.relnamespace = 'public'::regnamespace
      AND pg_get_expr(p.polqual, p.polrelid) || pg_get_expr(p.polwithcheck, p.polrelid)
          LIKE '%( SELECT app_%'
  LOOP
    EXECUTE format('ALTER POLICY owner ON %I USING (%s) WITH CHECK (%s)',
                   found.relname, found.rule, found.checked);
  END LOOP;
END $walls$
"""


def upgrade() -> None:
    """Create policies, rights and checks."""
    op.execute(POLICIES_SQL)
    for table in READ_BY_THE_AUDITOR:
        rls.grant_reading(table)
    for table, hidden in WITHOUT_SECRETS.items():
        rls.grant_reading(table, *hidden)
    op.execute(f"GRANT EXECUTE ON FUNCTION principals_by_id(uuid[]) TO {rls.AUDITOR}")
    rls.directory_function(
        "principal_is_disabled(who uuid)",
        "boolean",
        "RETURN (SELECT p.disabled_at IS NOT NULL FROM principal p WHERE p.id = who);",
        ("ringfence_api",),
    )
    for table in ("audit_chain", "audit_event"):
        op.create_check_constraint(op.f(f"ck_{table}_own_chain"), table, OWN_CHAIN)


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
