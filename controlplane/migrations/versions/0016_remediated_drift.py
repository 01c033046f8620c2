"""Drift: which run set a finding right."""

from __future__ import annotations

from alembic import op
import sqlalchemy as sa

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('drift_finding', sa.Column('remediated_by', sa.UUID(), nullable=True))
    # The check of the new key must see every tenant's rows; the walls are back before the commit.
    for table in ("drift_finding", "run"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.create_foreign_key(op.f('fk_drift_finding_boundary_id_remediated_by'), 'drift_finding', 'run', ['boundary_id', 'remediated_by'], ['boundary_id', 'id'])
    op.create_check_constraint(op.f('ck_drift_finding_remediation'), 'drift_finding', 'remediated_by IS NULL OR resolved_at IS NOT NULL')
    for table in ("drift_finding", "run"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
