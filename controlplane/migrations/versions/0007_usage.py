"""Usage: measures per group, model version, feature and language."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controlplane.migrations import rls

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NEW = ("usage_bucket", "usage_change", "usage_people", "usage_export")


def upgrade() -> None:
    _widen_the_hours()
    _create_the_days()
    for table in NEW:
        rls.secure_boundary_table(table)
        rls.grant(table, "SELECT")
        rls.grant(table, "INSERT, UPDATE, DELETE", "ringfence_api")
    # A bucket is replaced as a whole: cells that are no longer large enough go.
    rls.grant("usage_rollup", "DELETE", "ringfence_api")


def _widen_the_hours() -> None:
    for name in ("language", "ide"):
        op.add_column('usage_rollup', sa.Column(name, sa.Text(), server_default='unknown', nullable=False))
    op.add_column('usage_rollup', sa.Column('synthetic', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    for name in ("requests_expected", "requests_decided"):
        op.add_column('usage_rollup', sa.Column(name, sa.BigInteger(), server_default='0', nullable=False))
    op.drop_constraint('uq_usage_rollup_key', 'usage_rollup', type_='unique')
    op.create_unique_constraint('uq_usage_rollup_key', 'usage_rollup', ['boundary_id', 'hour_start', 'group_name', 'model_version', 'adapter', 'feature', 'language', 'ide', 'synthetic'])


def _create_the_days() -> None:
    op.create_table('usage_bucket',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('grain', sa.Text(), nullable=False),
    sa.Column('starts_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('sequence', sa.BigInteger(), nullable=False),
    sa.Column('as_of', sa.DateTime(timezone=True), nullable=False),
    sa.Column('is_final', sa.Boolean(), nullable=False),
    sa.Column('shown_ms', sa.Integer(), nullable=True),
    sa.Column('events_rejected', sa.BigInteger(), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.UniqueConstraint('boundary_id', 'grain', 'starts_at', name=op.f('uq_usage_bucket_boundary_id_grain_starts_at')),
    sa.CheckConstraint("grain IN ('hour', 'day')", name=op.f('ck_usage_bucket_grain')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_usage_bucket_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_usage_bucket')),
    info={'tenancy': 'boundary'}
    )
    op.create_table('usage_change',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('group_name', sa.Text(), nullable=False),
    sa.Column('model_version', sa.Text(), nullable=False),
    sa.Column('adapter', sa.Text(), nullable=False),
    sa.Column('feature', sa.Text(), nullable=False),
    sa.Column('language', sa.Text(), nullable=False),
    sa.Column('ide', sa.Text(), nullable=False),
    sa.Column('synthetic', sa.Boolean(), nullable=False),
    sa.Column('changes_shown', sa.BigInteger(), nullable=False),
    sa.Column('changes_decided', sa.BigInteger(), nullable=False),
    sa.Column('changes_offered', sa.BigInteger(), nullable=False),
    sa.Column('changes_accepted', sa.BigInteger(), nullable=False),
    sa.Column('lines_suggested', sa.BigInteger(), nullable=False),
    sa.Column('lines_accepted', sa.BigInteger(), nullable=False),
    sa.Column('changes_reviewed', sa.BigInteger(), nullable=False),
    sa.Column('not_applied_rejected', sa.BigInteger(), nullable=False),
    sa.Column('not_applied_dismissed', sa.BigInteger(), nullable=False),
    sa.Column('not_applied_lapsed', sa.BigInteger(), nullable=False),
    sa.Column('lines_applied_user', sa.BigInteger(), nullable=False),
    sa.Column('lines_applied_auto_approved', sa.BigInteger(), nullable=False),
    sa.Column('lines_applied_autonomous', sa.BigInteger(), nullable=False),
    sa.Column('lines_undone', sa.BigInteger(), nullable=False),
    sa.UniqueConstraint('boundary_id', 'day', 'group_name', 'model_version', 'adapter', 'feature', 'language', 'ide', 'synthetic', name='uq_usage_change_key'),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_usage_change_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_usage_change')),
    info={'tenancy': 'boundary'}
    )
    op.create_table('usage_people',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('group_name', sa.Text(), nullable=False),
    sa.Column('window_days', sa.Integer(), nullable=False),
    sa.Column('synthetic', sa.Boolean(), nullable=False),
    sa.Column('active', sa.BigInteger(), nullable=False),
    sa.Column('with_requests', sa.BigInteger(), nullable=True),
    sa.Column('with_events', sa.BigInteger(), nullable=True),
    sa.UniqueConstraint('boundary_id', 'day', 'group_name', 'window_days', 'synthetic', name='uq_usage_people_key'),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_usage_people_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_usage_people')),
    info={'tenancy': 'boundary'}
    )
    op.create_table('usage_export',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('export', sa.Text(), nullable=False),
    sa.Column('reported_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint("export IN ('none', 'aggregate')", name=op.f('ck_usage_export_export')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_usage_export_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_usage_export')),
    info={'tenancy': 'boundary'}
    )
    op.create_index('uq_usage_export_boundary', 'usage_export', ['boundary_id'], unique=True)


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
