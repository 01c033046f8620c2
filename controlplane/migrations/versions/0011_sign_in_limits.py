"""Sign-in: what is counted of refusals and which sessions are over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controlplane.migrations import rls

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

API = ("ringfence_api",)
SCHEDULER = ("ringfence_scheduler",)


def upgrade() -> None:
    _create_refusal()
    _open_clearing()


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


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
