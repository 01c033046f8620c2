"""Maintenance windows of boundaries and their overrides."""

from __future__ import annotations

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from controlplane.migrations import rls

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('maintenance_window',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('days', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('starts', sa.Text(), nullable=False),
    sa.Column('minutes', sa.Integer(), nullable=False),
    sa.Column('zone', sa.Text(), nullable=False),
    sa.Column('created_by', sa.UUID(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint('minutes BETWEEN 15 AND 10080', name=op.f('ck_maintenance_window_minutes')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_maintenance_window_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_maintenance_window')),
    info={'tenancy': 'boundary'}
    )
    op.create_table('window_override',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('minutes', sa.Integer(), nullable=False),
    sa.Column('requested_by', sa.UUID(), nullable=False),
    sa.Column('requested_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('approved_by', sa.UUID(), nullable=True),
    sa.Column('approved_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ends_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('approved_by IS NULL OR approved_by <> requested_by', name=op.f('ck_window_override_four_eyes')),
    sa.CheckConstraint('(approved_by IS NULL) = (approved_at IS NULL)', name=op.f('ck_window_override_approval')),
    sa.CheckConstraint('minutes BETWEEN 15 AND 1440', name=op.f('ck_window_override_minutes')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_window_override_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_window_override')),
    info={'tenancy': 'boundary'}
    )
    for table in ("maintenance_window", "window_override"):
        rls.secure_boundary_table(table)
        rls.grant(table, "SELECT")
        rls.grant(table, "INSERT", "ringfence_api")
    rls.grant("maintenance_window", "DELETE", "ringfence_api")
    rls.grant("window_override", "UPDATE", "ringfence_api")


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
