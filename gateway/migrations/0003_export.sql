-- Which events may leave, when the customer says `export: events`. Nothing here holds an event: only
-- its key.

-- From when to when the customer let events out. An event may leave in the period in which it both
-- happened and was stored, and in no other.
CREATE TABLE export_period (
    id uuid PRIMARY KEY,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    last_number bigint NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX export_period_open ON export_period ((ended_at IS NULL)) WHERE ended_at IS NULL;

-- Written by whoever stores an event; only ever added to, so that no writer waits for another.
CREATE TABLE export_waiting (
    period_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('request', 'change')),
    event_id uuid NOT NULL,
    subject_pseudonym text NOT NULL,
    occurred_at timestamptz NOT NULL
);

CREATE INDEX export_waiting_by_time ON export_waiting (occurred_at);

-- Events with a place in the order in which they leave, until the agent has acknowledged them.
CREATE TABLE export_page (
    period_id uuid NOT NULL REFERENCES export_period,
    number bigint NOT NULL,
    kind text NOT NULL,
    event_id uuid NOT NULL,
    subject_pseudonym text NOT NULL,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (period_id, number)
);
