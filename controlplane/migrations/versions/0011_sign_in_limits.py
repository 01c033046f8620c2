"""Sign-in: what is counted of refusals and which sessions are over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from controlplane.migrations import rls

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

API = ("ringfence_api",)
SCHEDULER = ("ringfence_scheduler",)
AUDITOR = (rls.AUDITOR,)


def upgrade() -> None:
    _create_refusal()
    _open_clearing()
    _keep_methods()
    _let_the_auditor_read()


def _create_refusal() -> None:
    op.create_table('sign_in_refusal',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('organization_id', sa.UUID(), nullable=True),
    sa.Column('window_start', sa.DateTime(timezone=True), nullable=False),
    sa.Column('address', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('refused', sa.BigInteger(), nullable=False),
    sa.Column('first_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('last_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('refused >= 1', name=op.f('ck_sign_in_refusal_refused')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_sign_in_refusal')),
    sa.UniqueConstraint('organization_id', 'window_start', 'address', 'reason', name='uq_sign_in_refusal_counted', postgresql_nulls_not_distinct=True),
    info={'tenancy': 'platform'}
    )
    rls.secure_platform_table("sign_in_refusal")
    rls.grant("sign_in_refusal", "SELECT, INSERT, UPDATE", *API)
    # The scheduler turns the counts of a window that is over into one event.
    rls.grant("sign_in_refusal", "SELECT, DELETE", *SCHEDULER)


def _open_clearing() -> None:
    """The scheduler ends sessions whose time is over, and deletes what ended long ago."""
    op.create_index('ix_session_open', 'session', ['idle_ends_at'], postgresql_where=sa.text('ended_at IS NULL'))
    op.create_index('ix_session_ended', 'session', ['ended_at'], postgresql_where=sa.text('ended_at IS NOT NULL'))
    # By column: neither a hash nor who it was is anything to the scheduler.
    op.execute("GRANT SELECT (id, ended_at), UPDATE (ended_at, end_reason), DELETE ON session TO ringfence_scheduler")
    op.execute("GRANT SELECT (id, expires_at), DELETE ON sign_in_attempt TO ringfence_scheduler")
    # The API did it at each start of a sign-in, all at once.
    op.execute("REVOKE DELETE ON sign_in_attempt FROM ringfence_api")
    rls.directory_function(
        "sessions_over(moment timestamptz, most integer)",
        "TABLE (id uuid, principal_id uuid, organization_id uuid, reason text)",
        """
        RETURN QUERY
        SELECT s.id, s.principal_id,
               (SELECT i.organization_id FROM identity_provider i WHERE i.issuer = p.issuer),
               CASE WHEN p.disabled_at IS NOT NULL THEN 'principal-disabled'
                    WHEN s.ends_at <= moment THEN 'absolute' ELSE 'idle' END
        FROM session s JOIN principal p ON p.id = s.principal_id
        WHERE s.ended_at IS NULL AND (s.idle_ends_at <= moment OR s.ends_at <= moment)
        ORDER BY s.idle_ends_at LIMIT most;
        """,
        SCHEDULER,
    )


def _keep_methods() -> None:
    """How somebody signed in stays with the session and, the last time, with the person."""
    op.add_column('session', sa.Column('methods', postgresql.JSONB(astext_type=sa.Text()), server_default='[]', nullable=False))
    op.add_column('session', sa.Column('context', sa.Text(), nullable=True))
    op.add_column('principal', sa.Column('signed_in_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('principal', sa.Column('signed_in_methods', postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column('principal', sa.Column('signed_in_context', sa.Text(), nullable=True))
    # Before this, only the sessions knew.
    op.execute("SELECT set_config('app.platform', 'on', true)")
    op.execute("""
        UPDATE principal p SET signed_in_at = s.at
        FROM (SELECT principal_id, max(created_at) AS at FROM session GROUP BY principal_id) s
        WHERE s.principal_id = p.id
    """)
    op.execute("SELECT set_config('app.platform', '', true)")
    op.execute("DROP FUNCTION record_sign_in(uuid, text, text)")
    # Only what the provider said just now; a claim that it left out keeps its last value.
    rls.directory_function(
        "record_sign_in(who uuid, shown text, key text, methods jsonb, context text)",
        "TABLE (is_enabled boolean, key_changed boolean, display text)",
        """
        RETURN QUERY
        WITH before AS (
          SELECT p.id, p.person_key, p.disabled_at, p.display FROM principal p WHERE p.id = who
        ),
        written AS (
          UPDATE principal p SET display = coalesce(shown, p.display),
            person_key = coalesce(key, p.person_key), signed_in_at = clock_timestamp(),
            signed_in_methods = methods, signed_in_context = context
          WHERE p.id = who AND p.disabled_at IS NULL RETURNING p.id, p.display
        )
        SELECT b.disabled_at IS NULL, key IS NOT NULL AND b.person_key IS DISTINCT FROM key,
               coalesce(w.display, b.display)
        FROM before b LEFT JOIN written w ON w.id = b.id;
        """,
        API,
    )
    op.execute("DROP FUNCTION principal_states(uuid[])")
    rls.directory_function(
        "principal_states(wanted uuid[])",
        "TABLE (id uuid, created_at timestamptz, disabled_at timestamptz,"
        " last_used_at timestamptz, last_sign_in_at timestamptz)",
        """
        RETURN QUERY SELECT p.id, p.created_at, p.disabled_at,
          (SELECT max(t.last_used_at) FROM api_token t WHERE t.principal_id = p.id),
          p.signed_in_at
        FROM principal p WHERE p.id = ANY (wanted);
        """,
        API,
    )
    op.execute("DROP FUNCTION report_principals(uuid)")
    rls.directory_function(
        "report_principals(wanted uuid)",
        "TABLE (id uuid, issuer text, subject text, kind text, display text,"
        " created_at timestamptz, disabled_at timestamptz, is_own boolean, is_vendor boolean,"
        " signed_in_at timestamptz, signed_in_methods jsonb, signed_in_context text)",
        """
        RETURN QUERY
        WITH own AS (SELECT i.issuer FROM identity_provider i WHERE i.organization_id = wanted),
        linked AS (
          SELECT m.principal_id FROM group_member m WHERE m.organization_id = wanted
          UNION SELECT a.principal_id FROM role_assignment a WHERE a.organization_id = wanted
          UNION SELECT a.granted_by FROM role_assignment a WHERE a.organization_id = wanted
          UNION SELECT unnest(ARRAY[w.principal_id, w.requested_by, w.first_approver,
                                    w.second_approver, w.ended_by])
                FROM waiver w WHERE w.organization_id = wanted
          UNION SELECT g.requested_by FROM access_grant g WHERE g.organization_id = wanted
          UNION SELECT g.decided_by FROM access_grant g WHERE g.organization_id = wanted
        ),
        vendor AS (SELECT DISTINCT r.principal_id FROM platform_role r)
        SELECT p.id, p.issuer, p.subject, p.kind, p.display, p.created_at, p.disabled_at,
               p.organization_id IS NOT DISTINCT FROM wanted
                 OR EXISTS (SELECT 1 FROM own WHERE own.issuer = p.issuer),
               EXISTS (SELECT 1 FROM vendor v WHERE v.principal_id = p.id),
               p.signed_in_at, p.signed_in_methods, p.signed_in_context
        FROM principal p
        WHERE p.organization_id = wanted
           OR p.issuer IN (SELECT own.issuer FROM own)
           OR p.id IN (SELECT l.principal_id FROM linked l)
           OR p.id IN (SELECT v.principal_id FROM vendor v);
        """,
        AUDITOR,
    )


def _let_the_auditor_read() -> None:
    """Reports are read under the role that cannot write; the worker writes what came of it."""
    for table in ("audit_checkpoint", "report", "service_identity", "trail_file", "vendor_session"):
        rls.grant_reading(table)
    rls.grant_reading("provisioned_user", "external_id")
    op.execute(f"GRANT EXECUTE ON FUNCTION report_platform_roles() TO {rls.AUDITOR}")
    op.execute("REVOKE EXECUTE ON FUNCTION report_platform_roles() FROM ringfence_worker")
    # Whatever could be used in the organization: made for it, or its holder is among its people.
    rls.directory_function(
        "report_tokens(wanted uuid)",
        "TABLE (id uuid, principal_id uuid, name text, organization_id uuid, boundary_id uuid,"
        " roles jsonb, created_by uuid, created_at timestamptz, expires_at timestamptz,"
        " revoked_at timestamptz, last_used_at timestamptz)",
        """
        RETURN QUERY
        SELECT t.id, t.principal_id, t.name, t.organization_id, t.boundary_id, t.roles,
               t.created_by, t.created_at, t.expires_at, t.revoked_at, t.last_used_at
        FROM api_token t
        WHERE t.organization_id = wanted OR t.organization_id IS NULL AND t.principal_id IN (
          SELECT p.id FROM report_principals(wanted) p);
        """,
        AUDITOR,
    )


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
