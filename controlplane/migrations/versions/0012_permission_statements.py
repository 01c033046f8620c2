"""Grants: the statements of the permissions that were asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from controlplane.migrations import rls

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('permission_document',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('document', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.CheckConstraint("digest ~ '^sha256:[0-9a-f]{64}$'", name=op.f('ck_permission_document_digest')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_permission_document_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_permission_document')),
    sa.UniqueConstraint('boundary_id', 'digest', name=op.f('uq_permission_document_boundary_id_digest')),
    info={'tenancy': 'boundary'}
    )
    op.add_column('access_grant', sa.Column('permission_document_id', sa.UUID(), nullable=True))
    op.create_foreign_key(op.f('fk_access_grant_boundary_id_permission_document_id'), 'access_grant', 'permission_document', ['boundary_id', 'permission_document_id'], ['boundary_id', 'id'])
    rls.secure_boundary_table("permission_document")
    # Written once and never changed: nobody may update or delete.
    rls.grant("permission_document", "SELECT")
    rls.grant("permission_document", "INSERT", "ringfence_api")
    rls.grant_reading("permission_document")
    op.execute(f"GRANT SELECT (permission_document_id) ON access_grant TO {rls.AUDITOR}")


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
