"""Audit: checkpoints, Merkle roots, and anchors; the append as one statement."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from controlplane.migrations import rls

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Runs with the caller's rights, so the policies of the two tables hold here as anywhere. The caller
# gives the event's canonical JSON in four parts; time, earlier hash and sequence go between them.
APPEND_SQL = """
CREATE FUNCTION audit_append(
  chain uuid, organization uuid, boundary uuid, event_code text, who jsonb, request text, what text,
  more jsonb, part1 text, part2 text, part3 text, part4 text
) RETURNS bigint LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  last_seq bigint;
  last_hash text;
  moment timestamptz;
  new_hash text;
BEGIN
  SELECT c.head_seq, c.head_hash INTO last_seq, last_hash
    FROM audit_chain c WHERE c.chain_id = chain FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO audit_chain (chain_id, organization_id, boundary_id, head_seq, head_hash)
      VALUES (chain, organization, boundary, 0, 'sha256:' || repeat('0', 64))
      ON CONFLICT DO NOTHING;
    SELECT c.head_seq, c.head_hash INTO STRICT last_seq, last_hash
      FROM audit_chain c WHERE c.chain_id = chain FOR UPDATE;
  END IF;
  -- Under the lock, so that a chain's times rise with its sequence.
  moment := clock_timestamp();
  new_hash := 'sha256:' || encode(sha256(convert_to(
    part1 || to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
    || part2 || last_hash || part3 || (last_seq + 1)::text || part4, 'UTF8')), 'hex');
  INSERT INTO audit_event (chain_id, seq, organization_id, boundary_id, at, code, actor, request_id,
                           target, detail, prev_hash, hash)
    VALUES (chain, last_seq + 1, organization, boundary, moment, event_code, who, request,
            what, more, last_hash, new_hash);
  UPDATE audit_chain c SET head_seq = last_seq + 1, head_hash = new_hash WHERE c.chain_id = chain;
  RETURN last_seq + 1;
END $$;
"""


def upgrade() -> None:
    _create_subtree()
    _create_checkpoint()
    for table in ("audit_subtree", "audit_checkpoint"):
        rls.secure_with(table, rls.CHAIN_RULE)
        rls.grant(table, "SELECT")
        rls.grant(table, "INSERT", "ringfence_worker")
    # A checkpoint is never changed: only that it is anchored, which the agent's route records.
    op.execute(
        "GRANT UPDATE (anchored_at, anchored_as) ON audit_checkpoint TO ringfence_api"
    )
    op.execute(APPEND_SQL)
    _due_chains()


def _create_subtree() -> None:
    op.create_table('audit_subtree',
    sa.Column('chain_id', sa.UUID(), nullable=False),
    sa.Column('level', sa.Integer(), nullable=False),
    sa.Column('position', sa.BigInteger(), nullable=False),
    sa.Column('organization_id', sa.UUID(), nullable=True),
    sa.Column('boundary_id', sa.UUID(), nullable=True),
    sa.Column('hash', sa.Text(), nullable=False),
    sa.CheckConstraint('boundary_id IS NULL OR organization_id IS NOT NULL', name=op.f('ck_audit_subtree_layers')),
    sa.CheckConstraint("chain_id = coalesce(boundary_id, organization_id, '00000000-0000-0000-0000-000000000000'::uuid)", name=op.f('ck_audit_subtree_own_chain')),
    sa.ForeignKeyConstraint(['chain_id'], ['audit_chain.chain_id'], name=op.f('fk_audit_subtree_chain_id')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_audit_subtree_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('chain_id', 'level', 'position', name=op.f('pk_audit_subtree')),
    info={'tenancy': 'chain'}
    )


def _create_checkpoint() -> None:
    op.create_table('audit_checkpoint',
    sa.Column('chain_id', sa.UUID(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('organization_id', sa.UUID(), nullable=True),
    sa.Column('boundary_id', sa.UUID(), nullable=True),
    sa.Column('root', sa.Text(), nullable=False),
    sa.Column('head_hash', sa.Text(), nullable=False),
    sa.Column('previous_size', sa.BigInteger(), nullable=True),
    sa.Column('signed', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('made_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('anchored_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('anchored_as', sa.Text(), nullable=True),
    sa.CheckConstraint('boundary_id IS NULL OR organization_id IS NOT NULL', name=op.f('ck_audit_checkpoint_layers')),
    sa.CheckConstraint("chain_id = coalesce(boundary_id, organization_id, '00000000-0000-0000-0000-000000000000'::uuid)", name=op.f('ck_audit_checkpoint_own_chain')),
    sa.CheckConstraint('size >= 1', name=op.f('ck_audit_checkpoint_size')),
    sa.ForeignKeyConstraint(['chain_id'], ['audit_chain.chain_id'], name=op.f('fk_audit_checkpoint_chain_id')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_audit_checkpoint_organization_id_boundary_id')),
    sa.PrimaryKeyConstraint('chain_id', 'size', name=op.f('pk_audit_checkpoint')),
    info={'tenancy': 'chain'}
    )
    op.create_index('ix_audit_checkpoint_unanchored', 'audit_checkpoint', ['chain_id', 'size'], unique=False, postgresql_where=sa.text('anchored_at IS NULL'))


def _due_chains() -> None:
    """What the scheduler asks before it has a scope: which chains are due, as ids."""
    for table in ("audit_chain", "audit_event", "audit_checkpoint"):
        rls.directory_policy(table, rule=rls.CHAIN_RULE)
    rls.directory_function(
        "chains_due_for_checkpoint(after_events bigint, after_seconds double precision)",
        "TABLE (chain_id uuid, organization_id uuid, boundary_id uuid)",
        """
        RETURN QUERY
        SELECT c.chain_id, c.organization_id, c.boundary_id
        FROM audit_chain c
        CROSS JOIN LATERAL (
          SELECT coalesce(max(k.size), 0) AS size FROM audit_checkpoint k
          WHERE k.chain_id = c.chain_id) signed
        LEFT JOIN audit_event e ON e.chain_id = c.chain_id AND e.seq = signed.size + 1
        WHERE c.head_seq > signed.size
          AND (c.head_seq - signed.size >= after_events
               -- An event that is not there any more must be looked at, not waited for.
               OR e.at IS NULL OR e.at <= now() - make_interval(secs => after_seconds));
        """,
        ("ringfence_scheduler",),
    )


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
