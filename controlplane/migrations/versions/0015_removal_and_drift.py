"""Installs: what a removal retained, and what was found changed in the account."""

from __future__ import annotations

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from controlplane.migrations import rls

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('install', sa.Column('retained', postgresql.JSONB(astext_type=sa.Text()), server_default='[]', nullable=False))
    op.add_column('install', sa.Column('drift_at', sa.DateTime(timezone=True), nullable=True))
    op.drop_constraint('ck_install_drift', 'install')
    # No version has ever written the word 'drifted'.
    op.create_check_constraint(op.f('ck_install_drift'), 'install', "drift IN ('unknown', 'none', 'found')")
    op.create_table('drift_finding',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('install_id', sa.UUID(), nullable=False),
    sa.Column('run_id', sa.UUID(), nullable=False),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('stack', sa.Text(), nullable=False),
    sa.Column('urn', sa.Text(), nullable=False),
    sa.Column('type', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('cloud_id', sa.Text(), nullable=False),
    sa.Column('change', sa.Text(), nullable=False),
    sa.Column('properties', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('found_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('resolved_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('proposed_by', sa.UUID(), nullable=True),
    sa.Column('proposed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('days', sa.Integer(), nullable=True),
    sa.Column('accepted_by', sa.UUID(), nullable=True),
    sa.Column('accepted_until', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("change IN ('changed', 'deleted')", name=op.f('ck_drift_finding_change')),
    sa.CheckConstraint('accepted_by IS NULL OR accepted_by <> proposed_by', name=op.f('ck_drift_finding_four_eyes')),
    sa.CheckConstraint('accepted_by IS NULL OR accepted_until IS NOT NULL', name=op.f('ck_drift_finding_acceptance')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_drift_finding_organization_id_boundary_id')),
    sa.ForeignKeyConstraint(['boundary_id', 'install_id'], ['install.boundary_id', 'install.id'], name=op.f('fk_drift_finding_boundary_id_install_id')),
    sa.ForeignKeyConstraint(['boundary_id', 'run_id'], ['run.boundary_id', 'run.id'], name=op.f('fk_drift_finding_boundary_id_run_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_drift_finding')),
    info={'tenancy': 'boundary'}
    )
    op.create_index('uq_drift_finding_open', 'drift_finding', ['boundary_id', 'install_id', 'digest'], unique=True,
                    postgresql_where=sa.text('resolved_at IS NULL'))
    rls.secure_boundary_table("drift_finding")
    rls.grant("drift_finding", "SELECT")
    rls.grant("drift_finding", "INSERT", "ringfence_worker")
    rls.grant("drift_finding", "UPDATE", "ringfence_api")
    rls.grant("drift_finding", "UPDATE", "ringfence_worker")


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
