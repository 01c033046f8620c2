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


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
