"""Sign in: sessions, sign-in attempts and the settings of identity providers."""

from __future__ import annotations

from alembic import op
import sqlalchemy as sa

from controlplane.migrations import rls

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

API = ("ringfence_api",)


def upgrade() -> None:
    _provider_columns()
    _membership_source()
    _create_attempt()
    _create_session()
    for table in ("sign_in_attempt", "session"):
        rls.secure_platform_table(table)
        # Not the worker's nor the scheduler's business: nobody signs in there.
        rls.grant(table, "SELECT, INSERT, UPDATE", *API)
    rls.grant("sign_in_attempt", "DELETE", *API)
    rls.directory_policy("session")
    _functions()


def _provider_columns() -> None:
    op.add_column('identity_provider', sa.Column('is_current', sa.Boolean(), server_default='true', nullable=False))
    for name in (
        'client_id', 'cli_client_id', 'metadata_url', 'groups_claim', 'person_key_claim',
        'display_claim', 'scopes',
    ):
        op.add_column('identity_provider', sa.Column(name, sa.Text(), nullable=True))


def _membership_source() -> None:
    op.add_column('group_member', sa.Column('source', sa.Text(), server_default='file', nullable=False))
    op.create_check_constraint(op.f('ck_group_member_source'), 'group_member', "source IN ('file', 'claim', 'scim')")
    op.drop_index('uq_group_member_current', table_name='group_member')
    op.create_index('uq_group_member_current', 'group_member', ['organization_id', 'group_id', 'principal_id', 'source'], unique=True, postgresql_where='valid_until IS NULL')


def _create_attempt() -> None:
    op.create_table('sign_in_attempt',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('state_hash', sa.Text(), nullable=False),
    sa.Column('browser_hash', sa.Text(), nullable=True),
    sa.Column('seed', sa.Text(), nullable=False),
    sa.Column('issuer', sa.Text(), nullable=False),
    sa.Column('return_to', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('used_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("kind IN ('browser', 'exchange')", name=op.f('ck_sign_in_attempt_kind')),
    sa.CheckConstraint("(kind = 'browser') = (browser_hash IS NOT NULL)", name=op.f('ck_sign_in_attempt_browser')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_sign_in_attempt')),
    sa.UniqueConstraint('state_hash', name=op.f('uq_sign_in_attempt_state_hash')),
    info={'tenancy': 'platform'}
    )
    op.create_index('ix_sign_in_attempt_expires_at', 'sign_in_attempt', ['expires_at'])


def _create_session() -> None:
    op.create_table('session',
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('secret_hash', sa.Text(), nullable=False),
    sa.Column('principal_id', sa.UUID(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('seen_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('idle_ends_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ends_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('end_reason', sa.Text(), nullable=True),
    sa.CheckConstraint('(ended_at IS NULL) = (end_reason IS NULL)', name=op.f('ck_session_ended')),
    sa.ForeignKeyConstraint(['principal_id'], ['principal.id'], name=op.f('fk_session_principal_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_session')),
    sa.UniqueConstraint('secret_hash', name=op.f('uq_session_secret_hash')),
    info={'tenancy': 'platform'}
    )
    op.create_index('ix_session_principal_id', 'session', ['principal_id'])


def _functions() -> None:
    # Ended and disabled ones too: the caller must know why a cookie is refused.
    rls.directory_function(
        "authenticate_session(wanted text)",
        "TABLE (id uuid, created_at timestamptz, seen_at timestamptz, idle_ends_at timestamptz,"
        " ends_at timestamptz, ended_at timestamptz, disabled_at timestamptz, principal_id uuid,"
        " issuer text, subject text, kind text, display text, person_key text,"
        " organization_id uuid)",
        """
        RETURN QUERY
        SELECT s.id, s.created_at, s.seen_at, s.idle_ends_at, s.ends_at, s.ended_at, p.disabled_at,
               p.id, p.issuer, p.subject, p.kind, p.display, p.person_key,
               (SELECT i.organization_id FROM identity_provider i WHERE i.issuer = p.issuer)
        FROM session s JOIN principal p ON p.id = s.principal_id
        WHERE s.secret_hash = wanted;
        """,
        API,
    )
    rls.directory_function(
        "sign_in_provider(wanted_organization uuid, wanted_issuer text)",
        "TABLE (organization_id uuid, issuer text, client_id text, cli_client_id text,"
        " metadata_url text, groups_claim text, person_key_claim text, display_claim text,"
        " scopes text)",
        """
        RETURN QUERY
        SELECT i.organization_id, i.issuer, i.client_id, i.cli_client_id, i.metadata_url,
               i.groups_claim, i.person_key_claim, i.display_claim, i.scopes
        FROM identity_provider i
        WHERE i.is_current AND (i.organization_id = wanted_organization OR i.issuer = wanted_issuer);
        """,
        API,
    )
    # Only what the provider said just now; a claim that it left out keeps its last value.
    rls.directory_function(
        "record_sign_in(who uuid, shown text, key text)",
        "TABLE (is_enabled boolean, key_changed boolean)",
        """
        RETURN QUERY
        WITH before AS (SELECT p.id, p.person_key, p.disabled_at FROM principal p WHERE p.id = who),
        written AS (
          UPDATE principal p SET display = shown, person_key = coalesce(key, p.person_key)
          WHERE p.id = who AND p.disabled_at IS NULL RETURNING p.id
        )
        SELECT b.disabled_at IS NULL, key IS NOT NULL AND b.person_key IS DISTINCT FROM key
        FROM before b LEFT JOIN written w ON w.id = b.id;
        """,
        API,
    )


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
