-- What clients report of changes, its roll-up by day, and the snapshots that may leave.
-- No column can hold content: texts are closed lists, checked before they come here.

ALTER TABLE usage_event ADD COLUMN synthetic boolean NOT NULL DEFAULT false;

-- All six kinds in one table: the roll-up joins them by change. A column that a kind does not have
-- is null. The subject is part of the key, so that nobody can take another one's id.
CREATE TABLE change_event (
    event_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    kind text NOT NULL,
    boundary_id text NOT NULL,
    subject_pseudonym text NOT NULL,
    group_id text NOT NULL,
    synthetic boolean NOT NULL,
    client text NOT NULL,
    client_version text NOT NULL,
    ide text NOT NULL,
    language text NOT NULL,
    feature text NOT NULL,
    change_id uuid,
    request_id uuid,
    lines_suggested_add int,
    lines_suggested_del int,
    files int,
    visible_ms double precision,
    decision text,
    decision_ms double precision,
    reviewed boolean,
    diff_opened boolean,
    lines_accepted int,
    apply_mode text,
    lines_added int,
    lines_deleted int,
    lines_undone int,
    after_ms double precision,
    horizon text,
    original_ai_loc int,
    unchanged_ai_loc int,
    modified_ai_loc int,
    deleted_ai_loc int,
    suggested int,
    applied int,
    comment_type text,
    PRIMARY KEY (event_id, subject_pseudonym, occurred_at)
) PARTITION BY RANGE (occurred_at);

CREATE INDEX change_event_by_change ON change_event (change_id) WHERE change_id IS NOT NULL;
CREATE INDEX change_event_by_request ON change_event (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX change_event_by_time ON change_event (occurred_at);

-- Reported events that were refused, by reason: counted, never kept.
CREATE TABLE usage_rejected (
    day date NOT NULL,
    reason text NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (day, reason)
);

-- Hours by more dimensions than before. A recomputed hour is replaced as a whole.
ALTER TABLE usage_hourly
    DROP CONSTRAINT usage_hourly_pkey,
    DROP COLUMN sequence,
    ADD COLUMN language text NOT NULL DEFAULT 'unknown',
    ADD COLUMN ide text NOT NULL DEFAULT 'unknown',
    ADD COLUMN synthetic boolean NOT NULL DEFAULT false,
    ADD COLUMN requests_expected bigint NOT NULL DEFAULT 0,
    ADD COLUMN requests_decided bigint NOT NULL DEFAULT 0,
    ADD PRIMARY KEY (hour_start, group_id, model_version, adapter_id, feature, language, ide,
        synthetic);

CREATE TABLE change_daily (
    day date NOT NULL,
    group_id text NOT NULL,
    model_version text NOT NULL,
    adapter_id text NOT NULL, -- '' when there is none: a key column cannot be null
    feature text NOT NULL,
    language text NOT NULL,
    ide text NOT NULL,
    synthetic boolean NOT NULL,
    changes_shown bigint NOT NULL,
    changes_decided bigint NOT NULL,
    changes_offered bigint NOT NULL,
    changes_accepted bigint NOT NULL,
    lines_suggested bigint NOT NULL,
    lines_accepted bigint NOT NULL,
    changes_reviewed bigint NOT NULL,
    not_applied_rejected bigint NOT NULL,
    not_applied_dismissed bigint NOT NULL,
    not_applied_lapsed bigint NOT NULL,
    lines_applied_user bigint NOT NULL,
    lines_applied_auto_approved bigint NOT NULL,
    lines_applied_autonomous bigint NOT NULL,
    lines_undone bigint NOT NULL,
    PRIMARY KEY (day, group_id, model_version, adapter_id, feature, language, ide, synthetic)
);

-- A row per person and day: it stays in the boundary, and is kept for 90 days.
CREATE TABLE user_daily (
    day date NOT NULL,
    group_id text NOT NULL,
    subject_pseudonym text NOT NULL,
    synthetic boolean NOT NULL,
    requests bigint NOT NULL,
    events bigint NOT NULL,
    PRIMARY KEY (day, group_id, subject_pseudonym, synthetic)
);

-- Days to be rolled up anew. Marks are only ever added by writers, so that none waits for another or
-- for a roll-up: a roll-up takes the marks it sees, and those it does not see stay for the next.
CREATE TABLE usage_dirty_day (
    day date NOT NULL,
    marked_at timestamptz NOT NULL
);
ALTER TABLE usage_dirty_hour DROP CONSTRAINT usage_dirty_hour_pkey;

-- What may leave: one snapshot per hour (requests) and per day (changes, people), small cells
-- already suppressed. The sequence grows with every change of a document.
CREATE TABLE usage_bucket (
    grain text NOT NULL CHECK (grain IN ('hour', 'day')),
    starts_at timestamptz NOT NULL,
    sequence bigint NOT NULL UNIQUE,
    row_count int NOT NULL,
    document jsonb NOT NULL,
    as_of timestamptz NOT NULL,
    is_final boolean NOT NULL,
    PRIMARY KEY (grain, starts_at)
);

CREATE INDEX usage_bucket_open ON usage_bucket (starts_at) WHERE NOT is_final;

-- Hours and days whose events are still here are computed once more in the new form.
INSERT INTO usage_dirty_hour SELECT DISTINCT date_trunc('hour', occurred_at, 'UTC'), now()
    FROM usage_event;
INSERT INTO usage_dirty_day SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date, now()
    FROM usage_event;
