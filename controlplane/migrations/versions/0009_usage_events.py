"""Usage: the events that a boundary exports when its customer says so."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from controlplane.migrations import rls

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('usage_export', sa.Column('events_since', sa.DateTime(timezone=True), nullable=True))
    op.add_column('usage_export', sa.Column('last_position', sa.BigInteger(), server_default='0', nullable=False))
    op.create_table('usage_event',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('position', sa.BigInteger(), nullable=False),
    sa.Column('occurred_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('event', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_usage_event_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', 'subject', name=op.f('pk_usage_event')),
    sa.UniqueConstraint('boundary_id', 'position', name=op.f('uq_usage_event_boundary_id_position')),
    info={'tenancy': 'boundary'}
    )
    op.create_index(op.f('ix_usage_event_occurred_at'), 'usage_event', ['occurred_at'], unique=False)
    rls.secure_boundary_table("usage_event")
    # Rows about people: one process takes and shows them, and none but the function below deletes.
    rls.grant("usage_event", "SELECT, INSERT", "ringfence_api")
    rls.directory_policy("usage_event")
    rls.directory_policy("usage_export", rule=rls.BOUNDARY_RULE)
    rls.directory_function(
        "forget_usage_events(before timestamptz, most integer)",
        "bigint",
        """
        DECLARE gone bigint; taken_back bigint;
        BEGIN
          DELETE FROM usage_event WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM usage_event WHERE occurred_at < before LIMIT most));
          GET DIAGNOSTICS gone = ROW_COUNT;
          DELETE FROM usage_event WHERE ctid = ANY (ARRAY(
            SELECT e.ctid FROM usage_export x JOIN usage_event e ON e.boundary_id = x.boundary_id
            WHERE e.occurred_at < coalesce(x.events_since, 'infinity') LIMIT most));
          GET DIAGNOSTICS taken_back = ROW_COUNT;
          RETURN gone + taken_back;
        END;
        """,
        ("ringfence_scheduler",),
    )


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
