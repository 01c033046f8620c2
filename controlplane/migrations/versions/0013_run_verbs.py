"""Runs: pausing, keeping what exists at a cancel, lanes of reading and writing runs."""

from __future__ import annotations

from alembic import op
import sqlalchemy as sa

from controlplane.migrations import rls

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

CLAIMABLE = "state IN ('queued', 'planning', 'running', 'unwinding', 'closing')"
FINAL = "state IN ('succeeded', 'failed', 'unwound', 'cancelled')"


def upgrade() -> None:
    _columns()
    op.drop_index('ix_run_claimable', table_name='run')
    op.create_index('ix_run_claimable', 'run', [sa.text('lane DESC'), 'next_run_at'], unique=False,
                    postgresql_where=sa.text(CLAIMABLE))
    op.create_index('ix_run_resume_at', 'run', ['resume_at'], unique=False,
                    postgresql_where=sa.text("state = 'paused' AND resume_at IS NOT NULL"))
    # Two writers on one install would be two owners of its resources.
    op.create_index('uq_run_writing', 'run', ['boundary_id', 'install_id'], unique=True,
                    postgresql_where=sa.text(
                        f"lane = 'write' AND install_id IS NOT NULL AND NOT {FINAL}"))
    op.drop_constraint('ck_install_lifecycle', 'install')
    op.create_check_constraint(
        op.f('ck_install_lifecycle'), 'install',
        "lifecycle IN ('requested', 'installing', 'installed', 'partial', 'updating', 'removing',"
        " 'removed', 'failed')")
    _functions()


def _columns() -> None:
    op.add_column('run', sa.Column('lane', sa.Text(), server_default='write', nullable=False))
    op.create_check_constraint(op.f('ck_run_lane'), 'run', "lane IN ('read', 'write')")
    op.add_column('run', sa.Column('pause_requested_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('run', sa.Column('pause_reason', sa.Text(), nullable=True))
    op.add_column('run', sa.Column('resume_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('run', sa.Column('cancel_keeps', sa.Boolean(), server_default='false', nullable=False))
    op.add_column('step', sa.Column('skippable', sa.Boolean(), server_default='false', nullable=False))


def _functions() -> None:
    op.execute("DROP FUNCTION claim_run(text, double precision, uuid)")
    rls.directory_function(
        "claim_run(worker text, lease_seconds double precision, wanted uuid, lanes text[])",
        "TABLE (run_id uuid, organization_id uuid, boundary_id uuid, kind text, fence bigint,"
        " lane text)",
        f"""
        -- NB: materialized, or a join may evaluate LIMIT 1 once per row and take many runs.
        RETURN QUERY
        WITH free AS MATERIALIZED (
          SELECT c.boundary_id, c.id FROM run c
          WHERE c.{CLAIMABLE} AND c.next_run_at <= now() AND c.lane = ANY (lanes)
            AND (c.lease_until IS NULL OR c.lease_until < now())
            AND (wanted IS NULL OR c.id = wanted)
          -- 'write' before 'read': a scan never goes before a deploy.
          ORDER BY c.lane DESC, c.next_run_at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        UPDATE run AS r
        SET fence = r.fence + 1, claims = r.claims + 1, claimed_by = worker,
            lease_until = now() + make_interval(secs => lease_seconds)
        FROM free
        WHERE r.boundary_id = free.boundary_id AND r.id = free.id
        RETURNING r.id, r.organization_id, r.boundary_id, r.kind, r.fence, r.lane;
        """,
        ("ringfence_worker",),
    )
    rls.directory_function(
        "resume_due_runs()",
        "TABLE (run_id uuid)",
        """
        RETURN QUERY
        WITH due AS (
          UPDATE run AS r
          SET state = CASE WHEN r.outcome IS NULL THEN 'running' ELSE 'unwinding' END,
              next_run_at = now(), lease_until = NULL, parked_at = NULL, parked_reason = NULL,
              resume_at = NULL, last_seq = r.last_seq + 1
          WHERE r.state = 'paused' AND r.resume_at <= now()
          RETURNING r.id, r.organization_id, r.boundary_id, r.last_seq, r.state
        ), told AS (
          INSERT INTO run_event (organization_id, boundary_id, run_id, seq, kind, state, detail)
          SELECT e.organization_id, e.boundary_id, e.id, e.last_seq, 'run.state', e.state,
                 jsonb_build_object('reason', 'what the run waited for has come')
          FROM due e
        ), hinted AS (
          INSERT INTO outbox (task, args)
          SELECT 'run.advance', jsonb_build_object('run_id', e.id) FROM due e
        )
        SELECT e.id FROM due e;
        """,
        ("ringfence_scheduler",),
    )


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
