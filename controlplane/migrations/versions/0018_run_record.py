"""Runs: a worker's writes to one run as one statement; freeing runs never waits for a lock."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0016"
branch_labels = None
depends_on = None

CLAIMABLE = "state IN ('queued', 'planning', 'running', 'unwinding', 'closing')"

# `audit_append` for several events of one chain: the head is locked and moved once. Both hash alike;
# a test follows a chain that both wrote.
APPEND_ALL_SQL = """
CREATE FUNCTION audit_append_all(chain uuid, events jsonb) RETURNS void LANGUAGE plpgsql
SET search_path = public, pg_temp AS $$
DECLARE
  last_seq bigint;
  last_hash text;
  moment timestamptz;
  new_hash text;
  event jsonb;
BEGIN
  IF events IS NULL THEN
    RETURN;
  END IF;
  SELECT c.head_seq, c.head_hash INTO last_seq, last_hash
    FROM audit_chain c WHERE c.chain_id = chain FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO audit_chain (chain_id, organization_id, boundary_id, head_seq, head_hash)
      VALUES (chain, (events -> 0 ->> 'organization_id')::uuid,
              (events -> 0 ->> 'boundary_id')::uuid, 0, 'sha256:' || repeat('0', 64))
      ON CONFLICT DO NOTHING;
    SELECT c.head_seq, c.head_hash INTO STRICT last_seq, last_hash
      FROM audit_chain c WHERE c.chain_id = chain FOR UPDATE;
  END IF;
  FOR event IN SELECT e.value FROM jsonb_array_elements(events) e LOOP
    -- Under the lock, so that a chain's times rise with its sequence.
    moment := clock_timestamp();
    new_hash := 'sha256:' || encode(sha256(convert_to(
      (event ->> 'part1')
      || to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
      || (event ->> 'part2') || last_hash || (event ->> 'part3') || (last_seq + 1)::text
      || (event ->> 'part4'), 'UTF8')), 'hex');
    INSERT INTO audit_event (chain_id, seq, organization_id, boundary_id, at, code, actor,
                             request_id, target, detail, prev_hash, hash)
      VALUES ((event ->> 'chain_id')::uuid, last_seq + 1, (event ->> 'organization_id')::uuid,
              (event ->> 'boundary_id')::uuid, moment, event ->> 'code', event -> 'actor',
              event ->> 'request_id', event ->> 'target', event -> 'detail', last_hash, new_hash);
    last_seq := last_seq + 1;
    last_hash := new_hash;
  END LOOP;
  UPDATE audit_chain c SET head_seq = last_seq, head_hash = new_hash WHERE c.chain_id = chain;
END $$;
"""

# Says whether the Python side of the gate (`domains/windows`) has to be asked at all: without a
# window of its own a boundary is always open.
GATE_SQL = """
CREATE FUNCTION run_gate(boundary uuid) RETURNS boolean LANGUAGE plpgsql STABLE
SET search_path = public, pg_temp AS $$
BEGIN
  RETURN EXISTS (SELECT 1 FROM maintenance_window w WHERE w.boundary_id = boundary);
END $$;
"""

# What a worker asks of one run. Each function sets the scope and the fence itself, so that one
# statement is the whole transaction: a round trip costs more than what it carries. They run with
# the caller's rights, so policies and fence triggers hold here as anywhere.
HOLD_SQL = """
CREATE FUNCTION run_scope(organization uuid, boundary uuid, held bigint) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM set_config('app.organization', organization::text, true),
          set_config('app.boundaries', '{' || boundary::text || '}', true),
          set_config('app.platform', '', true),
          set_config('ringfence.fence', held::text, true);
END $$;

CREATE FUNCTION run_hold(boundary uuid, wanted uuid, held bigint) RETURNS run
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE head run%ROWTYPE;
BEGIN
  SELECT r.* INTO head FROM run r WHERE r.boundary_id = boundary AND r.id = wanted FOR UPDATE;
  IF head.fence IS DISTINCT FROM held THEN
    RAISE EXCEPTION 'fence % may not write: the run is held under fence %', held, head.fence
      USING ERRCODE = 'RF001';
  END IF;
  RETURN head;
END $$;

CREATE FUNCTION run_requests(asked run) RETURNS text LANGUAGE sql STABLE
SET search_path = public, pg_temp AS $$
  SELECT concat_ws('/', coalesce(extract(epoch FROM asked.cancel_requested_at)::text, '-'),
                   coalesce(extract(epoch FROM asked.pause_requested_at)::text, '-'))
$$;
"""

# Read without a lock, which would make it a commit to wait for: whoever lost the run finds its
# first write refused.
FACTS_SQL = """
CREATE FUNCTION run_facts(organization uuid, boundary uuid, wanted uuid, held bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM run_scope(organization, boundary, held);
  RETURN (
    SELECT jsonb_build_object(
      'install_id', r.install_id, 'kind', r.kind, 'state', r.state, 'outcome', r.outcome,
      'at_fault', r.at_fault, 'plan_digest', r.plan_digest, 'approved_digest', r.approved_digest,
      'params', r.params, 'requested_by', r.requested_by, 'actor', r.actor,
      'request_id', r.request_id, 'cancel_requested', r.cancel_requested_at IS NOT NULL,
      'cancel_keeps', r.cancel_keeps,
      'pause_reason', CASE WHEN r.pause_requested_at IS NOT NULL THEN r.pause_reason END,
      'requests', run_requests(r),
      'steps', (
        SELECT coalesce(jsonb_agg(jsonb_build_array(s.key, s.state, s.attempt, s.failures, s.output)
                                  ORDER BY s.position), '[]')
        FROM step s WHERE s.boundary_id = boundary AND s.run_id = wanted))
    FROM run r WHERE r.boundary_id = boundary AND r.id = wanted);
END $$;

CREATE FUNCTION run_begin(organization uuid, boundary uuid, wanted uuid, held bigint, given jsonb,
                          steps jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM run_scope(organization, boundary, held);
  PERFORM run_hold(boundary, wanted, held);
  INSERT INTO step (organization_id, boundary_id, run_id, position, key, title, phase, skippable,
                    after, budget_seconds, estimate_seconds)
    SELECT organization, boundary, wanted, s.place - 1, s.value ->> 'key', s.value ->> 'title',
           s.value ->> 'phase', (s.value ->> 'skippable')::boolean, s.value -> 'after',
           (s.value ->> 'budget_seconds')::double precision,
           (s.value ->> 'estimate_seconds')::double precision
    FROM jsonb_array_elements(steps) WITH ORDINALITY s (value, place);
  UPDATE run r SET started_at = clock_timestamp(), params = given
    WHERE r.boundary_id = boundary AND r.id = wanted;
END $$;
"""

# `changes` is what `core/run_engine/changes.py` makes; one with `starts` is left out when a person
# asked for something since the caller looked (`seen`), because a step must not begin after that,
# and when `gated` and the gate must be asked first.
RECORD_SQL = """
CREATE FUNCTION run_record(organization uuid, boundary uuid, wanted uuid, held bigint, seen text,
                           gated boolean, changes jsonb)
RETURNS jsonb LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
  head run%ROWTYPE;
  change jsonb;
  cell jsonb;
  more jsonb := '{}';
  told jsonb;
  took record;
  fresh boolean;
  shut boolean := false;
  now_asked text;
BEGIN
  PERFORM run_scope(organization, boundary, held);
  head := run_hold(boundary, wanted, held);
  now_asked := run_requests(head);
  fresh := seen IS NULL OR seen = now_asked;
  IF fresh AND gated THEN
    shut := run_gate(boundary);
  END IF;
  FOR change IN SELECT c.value FROM jsonb_array_elements(changes) c LOOP
    CONTINUE WHEN change ? 'starts' AND (shut OR NOT fresh);
    told := change -> 'detail';
    IF change ? 'row' THEN
      cell := change -> 'row';
      UPDATE step s SET
        state = coalesce(cell ->> 'state', s.state),
        attempt = coalesce((cell ->> 'attempt')::integer, s.attempt),
        failures = coalesce((cell ->> 'failures')::integer, s.failures),
        input_hash = coalesce(cell ->> 'input_hash', s.input_hash),
        output = CASE WHEN cell ? 'output' THEN nullif(cell -> 'output', 'null') ELSE s.output END,
        error_code = CASE WHEN cell ? 'error_code' THEN cell ->> 'error_code'
                          ELSE s.error_code END,
        error_message = CASE WHEN cell ? 'error_code' THEN cell ->> 'error_message'
                             ELSE s.error_message END,
        started_at = CASE cell ->> 'started' WHEN 'first' THEN coalesce(s.started_at,
                                                                        clock_timestamp())
                                             WHEN 'never' THEN NULL ELSE s.started_at END,
        finished_at = CASE cell ->> 'finished' WHEN 'now' THEN clock_timestamp()
                                               WHEN 'first' THEN coalesce(s.finished_at,
                                                                          clock_timestamp())
                                               WHEN 'never' THEN NULL ELSE s.finished_at END
        WHERE s.boundary_id = boundary AND s.run_id = wanted AND s.key = change ->> 'step'
        RETURNING extract(epoch FROM s.finished_at - s.started_at) AS seconds, s.budget_seconds
        INTO STRICT took;
      IF change ? 'timed' THEN
        told := jsonb_build_object('seconds', round(took.seconds, 3)::double precision,
                                   'budget_seconds', took.budget_seconds) || told;
      END IF;
    END IF;
    IF change ? 'run' THEN
      more := more || (change -> 'run');
    END IF;
    IF change ? 'kind' THEN
      head.last_seq := head.last_seq + 1;
      INSERT INTO run_event (organization_id, boundary_id, run_id, seq, kind, step, state, detail)
        VALUES (head.organization_id, boundary, wanted, head.last_seq, change ->> 'kind',
                change ->> 'step', change ->> 'shown', told);
    END IF;
  END LOOP;
  UPDATE run r SET
    last_seq = head.last_seq,
    state = coalesce(more ->> 'state', r.state),
    outcome = coalesce(more ->> 'outcome', r.outcome),
    at_fault = CASE WHEN more ? 'outcome' THEN more ->> 'at_fault' ELSE r.at_fault END,
    error_code = CASE WHEN more ? 'outcome' THEN more ->> 'error_code' ELSE r.error_code END,
    error_message = CASE WHEN more ? 'outcome' THEN more ->> 'error_message'
                         ELSE r.error_message END,
    finished_at = CASE WHEN more ? 'ended' THEN clock_timestamp() ELSE r.finished_at END,
    lease_until = CASE WHEN more ? 'released' THEN NULL ELSE r.lease_until END,
    claimed_by = CASE WHEN more ? 'released' THEN NULL ELSE r.claimed_by END,
    next_run_at = CASE WHEN more ? 'retry_in'
                       THEN now() + make_interval(secs => (more ->> 'retry_in')::double precision)
                       ELSE r.next_run_at END,
    parked_at = CASE WHEN more ? 'parked' THEN clock_timestamp() ELSE r.parked_at END,
    parked_reason = CASE WHEN more ? 'parked' THEN more ->> 'parked' ELSE r.parked_reason END,
    resume_at = CASE WHEN more ? 'parked' THEN (more ->> 'resume_at')::timestamptz
                     ELSE r.resume_at END,
    pause_requested_at = CASE WHEN more ? 'parked' THEN NULL ELSE r.pause_requested_at END
    WHERE r.boundary_id = boundary AND r.id = wanted
      AND (more <> '{}' OR r.last_seq <> head.last_seq)
    RETURNING r.* INTO took;
  IF FOUND THEN
    head := took;
    PERFORM pg_notify('ringfence_run_event', wanted::text);
  END IF;
  -- Last, because it locks the chain that all runs of a boundary share until the commit.
  PERFORM audit_append_all(boundary, (
    SELECT jsonb_agg(c.value -> 'audit' ORDER BY c.place)
    FROM jsonb_array_elements(changes) WITH ORDINALITY c (value, place)
    WHERE c.value ? 'audit' AND NOT (c.value ? 'starts' AND (shut OR NOT fresh))));
  RETURN jsonb_build_object(
    'state', head.state, 'outcome', head.outcome, 'at_fault', head.at_fault,
    'plan_digest', head.plan_digest, 'approved_digest', head.approved_digest,
    'cancel_requested', head.cancel_requested_at IS NOT NULL, 'cancel_keeps', head.cancel_keeps,
    'pause_reason', CASE WHEN head.pause_requested_at IS NOT NULL THEN head.pause_reason END,
    'requests', now_asked, 'is_current', fresh, 'asks_gate', shut);
END $$;
"""

# SKIP LOCKED: a run whose row is locked is being written by its holder, or claimed, right now; one
# such run must not keep all the others waiting for the reaper.
REAP_SQL = f"""
CREATE OR REPLACE FUNCTION reap_runs() RETURNS TABLE (run_id uuid) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $directory$ BEGIN
PERFORM set_config('app.directory', 'on', true);
RETURN QUERY
WITH silent AS MATERIALIZED (
  SELECT c.boundary_id, c.id FROM run c WHERE c.{CLAIMABLE} AND c.lease_until < now()
  FOR UPDATE SKIP LOCKED
), reaped AS (
  UPDATE run AS r
  SET lease_until = NULL, next_run_at = now(), last_seq = r.last_seq + 1
  FROM silent WHERE r.boundary_id = silent.boundary_id AND r.id = silent.id
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
END $directory$;
"""
RESUME_SQL = """
CREATE OR REPLACE FUNCTION resume_due_runs() RETURNS TABLE (run_id uuid) LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $directory$ BEGIN
PERFORM set_config('app.directory', 'on', true);
RETURN QUERY
WITH ready AS MATERIALIZED (
  SELECT c.boundary_id, c.id FROM run c WHERE c.state = 'paused' AND c.resume_at <= now()
  FOR UPDATE SKIP LOCKED
), due AS (
  UPDATE run AS r
  SET state = CASE WHEN r.outcome IS NULL THEN 'running' ELSE 'unwinding' END,
      next_run_at = now(), lease_until = NULL, parked_at = NULL, parked_reason = NULL,
      resume_at = NULL, last_seq = r.last_seq + 1
  FROM ready WHERE r.boundary_id = ready.boundary_id AND r.id = ready.id
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
END $directory$;
"""


def upgrade() -> None:
    for statement in (APPEND_ALL_SQL, GATE_SQL, HOLD_SQL, FACTS_SQL, RECORD_SQL, REAP_SQL, RESUME_SQL):
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
