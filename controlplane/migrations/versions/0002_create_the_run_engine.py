"""Create the run engine: runs, steps, events, the fence's triggers and the claims across tenants."""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from controlplane.migrations import rls

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None

CLAIMABLE = "state IN ('queued', 'planning', 'running', 'unwinding', 'closing')"
PARKED = (
    "state IN ('awaiting-approval', 'waiting-for-grant', 'paused', 'needs-attention', 'stuck')"
)

# A worker's transaction announces its fence in a setting. The trigger compares it with the run's:
# whoever lost the lease writes nothing any more, whatever its code believes.
GUARD_SQL = """
CREATE FUNCTION fence_guard() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp
AS $$
DECLARE
  announced text := nullif(current_setting('ringfence.fence', true), '');
  held bigint;
BEGIN
  IF TG_TABLE_NAME = 'run' THEN
    IF NEW.fence < OLD.fence THEN
      RAISE EXCEPTION 'run %: a fence never falls (% to %)', OLD.id, OLD.fence, NEW.fence
        USING ERRCODE = 'RF001';
    END IF;
    held := OLD.fence;
  ELSIF announced IS NOT NULL THEN
    SELECT fence INTO held FROM run
      WHERE boundary_id = NEW.boundary_id AND id = NEW.run_id FOR SHARE;
  END IF;
  IF announced IS NULL THEN
    IF current_user = 'ringfence_worker' THEN
      RAISE EXCEPTION 'a worker must announce its fence before it writes to %', TG_TABLE_NAME
        USING ERRCODE = 'RF001';
    END IF;
  ELSIF held IS NULL OR announced::bigint <> held THEN
    RAISE EXCEPTION 'fence % may not write to %: the run is held under fence %',
      announced, TG_TABLE_NAME, held USING ERRCODE = 'RF001';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER fence_guard BEFORE UPDATE ON run FOR EACH ROW EXECUTE FUNCTION fence_guard();
CREATE TRIGGER fence_guard BEFORE INSERT OR UPDATE ON step
  FOR EACH ROW EXECUTE FUNCTION fence_guard();
CREATE TRIGGER fence_guard BEFORE INSERT ON run_event
  FOR EACH ROW EXECUTE FUNCTION fence_guard();
"""


def upgrade() -> None:
    _create_run()
    _create_step_and_event()
    op.add_column('outbox', sa.Column('attempts', sa.Integer(), server_default='0', nullable=False))
    op.add_column('outbox', sa.Column('done_at', sa.DateTime(timezone=True), nullable=True))
    op.create_index('ix_outbox_open', 'outbox', ['id'], unique=False,
                    postgresql_where=sa.text('done_at IS NULL'))
    for table in ("run", "step", "run_event"):
        rls.secure_boundary_table(table)
    # The owner, who claims across tenants inside directory functions, gets nothing but that switch.
    # NB: not `rls.directory_policy`, whose CASE holds the tenant rule as a sub-select: when two
    # claims meet, PostgreSQL re-checks the row and evaluates such sub-selects whether they are
    # needed or not (EvalPlanQual), and the rule raises where there is no scope.
    opened = "current_setting('app.directory', true) = 'on'"
    for table in ("run", "run_event"):
        op.execute(f"ALTER POLICY owner ON {table} USING ({opened}) WITH CHECK ({opened})")
    op.execute(GUARD_SQL)
    _functions()
    _grant()


def _create_run() -> None:
    op.create_table('run',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('install_id', sa.UUID(), nullable=True),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('params', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('requested_by', sa.UUID(), nullable=False),
    sa.Column('actor', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('request_id', sa.Text(), nullable=False),
    sa.Column('fence', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('claimed_by', sa.Text(), nullable=True),
    sa.Column('claims', sa.Integer(), server_default='0', nullable=False),
    sa.Column('next_run_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('last_seq', sa.BigInteger(), server_default='0', nullable=False),
    sa.Column('outcome', sa.Text(), nullable=True),
    sa.Column('at_fault', sa.Text(), nullable=True),
    sa.Column('error_code', sa.Text(), nullable=True),
    sa.Column('error_message', sa.Text(), nullable=True),
    sa.Column('parked_reason', sa.Text(), nullable=True),
    sa.Column('parked_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('cancel_requested_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('plan', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('plan_digest', sa.Text(), nullable=True),
    sa.Column('approved_digest', sa.Text(), nullable=True),
    sa.Column('approved_by', sa.UUID(), nullable=True),
    sa.Column('approved_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint(
        "state IN ('queued', 'planning', 'awaiting-approval', 'waiting-for-grant', 'running',"
        " 'paused', 'needs-attention', 'succeeded', 'failed', 'unwinding', 'unwound', 'stuck',"
        " 'closing', 'cancelled')", name=op.f('ck_run_state')),
    sa.CheckConstraint('approved_by IS NULL OR approved_by <> requested_by', name=op.f('ck_run_four_eyes')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_run_organization_id_boundary_id')),
    sa.ForeignKeyConstraint(['boundary_id', 'install_id'], ['install.boundary_id', 'install.id'], name=op.f('fk_run_boundary_id_install_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'id', name=op.f('pk_run')),
    info={'tenancy': 'boundary'}
    )
    op.create_index('ix_run_claimable', 'run', ['next_run_at'], unique=False,
                    postgresql_where=sa.text(CLAIMABLE))


def _create_step_and_event() -> None:
    op.create_table('step',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('run_id', sa.UUID(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('title', sa.Text(), nullable=False),
    sa.Column('phase', sa.Text(), nullable=False),
    sa.Column('after', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.Column('state', sa.Text(), server_default='pending', nullable=False),
    sa.Column('attempt', sa.Integer(), server_default='0', nullable=False),
    sa.Column('failures', sa.Integer(), server_default='0', nullable=False),
    sa.Column('input_hash', sa.Text(), nullable=True),
    sa.Column('budget_seconds', sa.Float(), nullable=False),
    sa.Column('estimate_seconds', sa.Float(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('output', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('error_code', sa.Text(), nullable=True),
    sa.Column('error_message', sa.Text(), nullable=True),
    sa.CheckConstraint(
        "state IN ('pending', 'running', 'succeeded', 'failed', 'skipped', 'not-attempted',"
        " 'unwinding', 'unwound')", name=op.f('ck_step_state')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_step_organization_id_boundary_id')),
    sa.ForeignKeyConstraint(['boundary_id', 'run_id'], ['run.boundary_id', 'run.id'], name=op.f('fk_step_boundary_id_run_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'run_id', 'key', name=op.f('pk_step')),
    info={'tenancy': 'boundary'}
    )
    op.create_table('run_event',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=False),
    sa.Column('run_id', sa.UUID(), nullable=False),
    sa.Column('seq', sa.BigInteger(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('step', sa.Text(), nullable=True),
    sa.Column('state', sa.Text(), nullable=True),
    sa.Column('detail', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_run_event_organization_id_boundary_id')),
    sa.ForeignKeyConstraint(['boundary_id', 'run_id'], ['run.boundary_id', 'run.id'], name=op.f('fk_run_event_boundary_id_run_id')),
    sa.PrimaryKeyConstraint('boundary_id', 'run_id', 'seq', name=op.f('pk_run_event')),
    info={'tenancy': 'boundary'}
    )


def _functions() -> None:
    rls.directory_function(
        "claim_run(worker text, lease_seconds double precision, wanted uuid)",
        "TABLE (run_id uuid, organization_id uuid, boundary_id uuid, kind text, fence bigint)",
        f"""
        -- NB: materialized, or a join may evaluate LIMIT 1 once per row and take many runs.
        RETURN QUERY
        WITH free AS MATERIALIZED (
          SELECT c.boundary_id, c.id FROM run c
          WHERE c.{CLAIMABLE} AND c.next_run_at <= now()
            AND (c.lease_until IS NULL OR c.lease_until < now())
            AND (wanted IS NULL OR c.id = wanted)
          ORDER BY c.next_run_at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        UPDATE run AS r
        SET fence = r.fence + 1, claims = r.claims + 1, claimed_by = worker,
            lease_until = now() + make_interval(secs => lease_seconds)
        FROM free
        WHERE r.boundary_id = free.boundary_id AND r.id = free.id
        RETURNING r.id, r.organization_id, r.boundary_id, r.kind, r.fence;
        """,
        ("ringfence_worker",),
    )
    rls.directory_function(
        "reap_runs()",
        "TABLE (run_id uuid)",
        f"""
        RETURN QUERY
        WITH reaped AS (
          UPDATE run AS r
          SET lease_until = NULL, next_run_at = now(), last_seq = r.last_seq + 1
          WHERE r.{CLAIMABLE} AND r.lease_until < now()
          RETURNING r.id, r.organization_id, r.boundary_id, r.last_seq, r.claimed_by, r.fence
        ), told AS (
          INSERT INTO run_event (organization_id, boundary_id, run_id, seq, kind, detail)
          SELECT e.organization_id, e.boundary_id, e.id, e.last_seq, 'log',
                 jsonb_build_object('message', 'the worker fell silent; the run is free again',
                                    'worker', e.claimed_by, 'fence', e.fence)
          FROM reaped e
        ), hinted AS (
          INSERT INTO outbox (task, args)
          SELECT 'run.advance', jsonb_build_object('run_id', e.id) FROM reaped e
        )
        SELECT e.id FROM reaped e;
        """,
        ("ringfence_scheduler",),
    )
    rls.directory_function(
        "parked_runs(older_than double precision)",
        "TABLE (run_id uuid, organization_id uuid, boundary_id uuid, state text)",
        f"""
        RETURN QUERY SELECT r.id, r.organization_id, r.boundary_id, r.state FROM run r
        WHERE r.{PARKED} AND r.parked_at < now() - make_interval(secs => older_than);
        """,
        ("ringfence_scheduler",),
    )


def _grant() -> None:
    for table in ("run", "step", "run_event"):
        rls.grant(table, "SELECT")
    rls.grant("run", "INSERT", "ringfence_api")
    rls.grant("run", "UPDATE")
    rls.grant("step", "INSERT", "ringfence_worker")
    rls.grant("step", "UPDATE", "ringfence_api", "ringfence_worker")
    # Append only, as the audit: what a run showed stays shown.
    rls.grant("run_event", "INSERT")


def downgrade() -> None:
    for function in (
        "parked_runs(double precision)", "reap_runs()",
        "claim_run(text, double precision, uuid)",
    ):
        op.execute(f"DROP FUNCTION {function}")
    for table in ("run_event", "step", "run"):
        op.drop_table(table)
    op.execute("DROP FUNCTION fence_guard()")
    op.drop_index('ix_outbox_open', table_name='outbox')
    op.drop_column('outbox', 'done_at')
    op.drop_column('outbox', 'attempts')
