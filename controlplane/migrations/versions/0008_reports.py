"""Reports: requests for reports, their files, our sessions and extracts of the customer's trail."""

from __future__ import annotations

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from controlplane.migrations import rls

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# A report is seen only by a scope that may see every boundary it covers.
COVERED_RULE = (
    "organization_id = (SELECT app_organization())"
    " AND covers <@ ((SELECT app_boundaries())::uuid[])"
)


def upgrade() -> None:
    op.create_table('report',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=True),
    sa.Column('covers', sa.ARRAY(sa.UUID()), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('parameters', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('requested_by', sa.UUID(), nullable=False),
    sa.Column('requested_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('row_count', sa.BigInteger(), nullable=True),
    sa.Column('findings', sa.Integer(), nullable=True),
    sa.Column('root', sa.Text(), nullable=True),
    sa.Column('error', sa.Text(), nullable=True),
    sa.CheckConstraint("kind IN ('R1', 'R3')", name=op.f('ck_report_kind')),
    sa.CheckConstraint("state IN ('queued', 'ready', 'failed')", name=op.f('ck_report_state')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_report_organization_id_boundary_id')),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.id'], name=op.f('fk_report_organization_id')),
    sa.PrimaryKeyConstraint('organization_id', 'id', name=op.f('pk_report')),
    info={'tenancy': 'report'}
    )
    op.create_index(op.f('ix_report_organization_id_requested_at'), 'report', ['organization_id', 'requested_at'], unique=False)
    op.create_table('trail_file',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.Column('account', sa.Text(), nullable=False),
    sa.Column('region', sa.Text(), nullable=False),
    sa.Column('delivered_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('events', sa.Integer(), nullable=False),
    sa.Column('first_event_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_event_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('uploaded_by', sa.UUID(), nullable=False),
    sa.Column('uploaded_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('data', sa.LargeBinary(), nullable=False),
    sa.CheckConstraint('events >= 0', name=op.f('ck_trail_file_events')),
    sa.CheckConstraint('size_bytes BETWEEN 1 AND 6000000', name=op.f('ck_trail_file_size')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_trail_file_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_trail_file')),
    sa.UniqueConstraint('boundary_id', 'digest', name=op.f('uq_trail_file_boundary_id_digest')),
    info={'tenancy': 'boundary'}
    )
    op.create_table('vendor_session',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('purpose', sa.Text(), nullable=False),
    sa.Column('role_arn', sa.Text(), nullable=False),
    sa.Column('session_name', sa.Text(), nullable=False),
    sa.Column('source_identity', sa.Text(), nullable=False),
    sa.Column('external_id_hash', sa.Text(), nullable=False),
    sa.Column('asked_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('outcome', sa.Text(), nullable=False),
    sa.Column('error_code', sa.Text(), nullable=True),
    sa.Column('aws_request_id', sa.Text(), nullable=True),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("outcome IN ('unknown', 'opened', 'denied')", name=op.f('ck_vendor_session_outcome')),
    sa.CheckConstraint("purpose IN ('work', 'probe')", name=op.f('ck_vendor_session_purpose')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_vendor_session_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_vendor_session')),
    info={'tenancy': 'boundary'}
    )
    op.create_index(op.f('ix_vendor_session_boundary_id_asked_at'), 'vendor_session', ['boundary_id', 'asked_at'], unique=False)
    op.create_table('report_file',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('report_id', sa.UUID(), nullable=False),
    sa.Column('format', sa.Text(), nullable=False),
    sa.Column('covers', sa.ARRAY(sa.UUID()), nullable=False),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('size_bytes', sa.BigInteger(), nullable=False),
    sa.CheckConstraint("format IN ('json', 'csv', 'pdf', 'manifest')", name=op.f('ck_report_file_format')),
    sa.ForeignKeyConstraint(['organization_id', 'report_id'], ['report.organization_id', 'report.id'], name=op.f('fk_report_file_organization_id_report_id')),
    sa.PrimaryKeyConstraint('organization_id', 'report_id', 'format', name=op.f('pk_report_file')),
    info={'tenancy': 'report'}
    )
    op.create_table('report_piece',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('report_id', sa.UUID(), nullable=False),
    sa.Column('format', sa.Text(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('covers', sa.ARRAY(sa.UUID()), nullable=False),
    sa.Column('first_row', sa.BigInteger(), nullable=True),
    sa.Column('data', sa.LargeBinary(), nullable=False),
    sa.CheckConstraint('length(data) <= 8388608', name=op.f('ck_report_piece_bounded')),
    sa.ForeignKeyConstraint(['organization_id', 'report_id', 'format'], ['report_file.organization_id', 'report_file.report_id', 'report_file.format'], name=op.f('fk_report_piece_organization_id_report_id_format')),
    sa.PrimaryKeyConstraint('organization_id', 'report_id', 'format', 'position', name=op.f('pk_report_piece')),
    info={'tenancy': 'report'}
    )
    _secure()
    _functions()


def _secure() -> None:
    for table in ("report", "report_file", "report_piece"):
        rls.secure_with(table, COVERED_RULE)
    for table in ("vendor_session", "trail_file"):
        rls.secure_boundary_table(table)
    rls.grant("report", "SELECT, INSERT", "ringfence_api")
    rls.grant("report", "SELECT, UPDATE", "ringfence_worker")
    for table in ("report_file", "report_piece"):
        rls.grant(table, "SELECT", "ringfence_api")
        rls.grant(table, "SELECT, INSERT", "ringfence_worker")
    for table in ("vendor_session", "trail_file"):
        rls.grant(table, "SELECT")
    rls.grant("trail_file", "INSERT", "ringfence_api")
    # Written before the call and completed after it; never removed.
    rls.grant("vendor_session", "INSERT, UPDATE", "ringfence_worker")


def _functions() -> None:
    rls.directory_policy("report")
    rls.directory_function(
        "scope_of_report(wanted uuid)",
        "TABLE (organization_id uuid, covers uuid[])",
        "RETURN QUERY SELECT r.organization_id, r.covers FROM report r WHERE r.id = wanted;",
        ("ringfence_worker",),
    )
    # Who assumed which role is recorded where STS is called, which knows the role and no tenant.
    rls.directory_function(
        "boundary_of_role(wanted_account text, wanted_role text, sent_external_id text)",
        "TABLE (organization_id uuid, boundary_id uuid)",
        """
        RETURN QUERY SELECT c.organization_id, c.boundary_id FROM cloud_connection c
        WHERE c.account = wanted_account
          AND starts_with(wanted_role, c.role_base_name || '-g')
          AND substr(wanted_role, length(c.role_base_name) + 3) ~ '^[0-9]+$'
        ORDER BY (c.external_id IS NOT DISTINCT FROM sent_external_id) DESC, c.created_at LIMIT 1;
        """,
        ("ringfence_worker",),
    )
    rls.directory_function(
        "report_principals(wanted uuid)",
        "TABLE (id uuid, issuer text, subject text, kind text, display text,"
        " created_at timestamptz, disabled_at timestamptz, is_own boolean, is_vendor boolean)",
        """
        RETURN QUERY
        WITH own AS (SELECT i.issuer FROM identity_provider i WHERE i.organization_id = wanted),
        linked AS (
          SELECT m.principal_id FROM group_member m WHERE m.organization_id = wanted
          UNION SELECT a.principal_id FROM role_assignment a WHERE a.organization_id = wanted
          UNION SELECT a.granted_by FROM role_assignment a WHERE a.organization_id = wanted
          UNION SELECT g.principal_id FROM guest_assignment g WHERE g.organization_id = wanted
          UNION SELECT g.requested_by FROM access_grant g WHERE g.organization_id = wanted
          UNION SELECT g.decided_by FROM access_grant g WHERE g.organization_id = wanted
        ),
        vendor AS (SELECT DISTINCT r.principal_id FROM platform_role r)
        SELECT p.id, p.issuer, p.subject, p.kind, p.display, p.created_at, p.disabled_at,
               EXISTS (SELECT 1 FROM own WHERE own.issuer = p.issuer),
               EXISTS (SELECT 1 FROM vendor v WHERE v.principal_id = p.id)
        FROM principal p
        WHERE p.issuer IN (SELECT own.issuer FROM own)
           OR p.id IN (SELECT l.principal_id FROM linked l)
           OR p.id IN (SELECT v.principal_id FROM vendor v);
        """,
        ("ringfence_worker",),
    )
    rls.directory_function(
        "report_platform_roles()",
        "TABLE (id uuid, principal_id uuid, role text, valid_from timestamptz,"
        " valid_until timestamptz)",
        """
        RETURN QUERY SELECT r.id, r.principal_id, r.role, r.valid_from, r.valid_until
        FROM platform_role r;
        """,
        ("ringfence_worker",),
    )


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
