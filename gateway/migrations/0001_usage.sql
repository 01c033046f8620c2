-- Raw events, roll-ups and the boundary's own key. No column can hold content.
CREATE TABLE usage_event (
    event_id uuid NOT NULL,
    occurred_at timestamptz NOT NULL,
    boundary_id text NOT NULL,
    subject_pseudonym text NOT NULL,
    group_id text NOT NULL,
    client text NOT NULL,
    client_version text NOT NULL,
    ide text NOT NULL,
    language text NOT NULL,
    feature text NOT NULL,
    gen_ai_operation_name text NOT NULL,
    gen_ai_provider_name text NOT NULL,
    gen_ai_usage_input_tokens bigint NOT NULL CHECK (gen_ai_usage_input_tokens >= 0),
    gen_ai_usage_output_tokens bigint NOT NULL CHECK (gen_ai_usage_output_tokens >= 0),
    cache_read_tokens bigint NOT NULL,
    cache_creation_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    usage_source text NOT NULL,
    requested_model text NOT NULL,
    served_model text,
    model_version text NOT NULL,
    adapter_id text,
    deployment_id text NOT NULL,
    hop int NOT NULL,
    fallback_reason text NOT NULL,
    egress_class text NOT NULL,
    stream boolean NOT NULL,
    ttft_ms double precision,
    tpot_ms double precision,
    duration_ms double precision NOT NULL,
    queue_ms double precision NOT NULL,
    error_type text NOT NULL,
    cost_micro bigint NOT NULL,
    currency text NOT NULL,
    price_version text NOT NULL,
    experiment_id uuid,
    arm int,
    PRIMARY KEY (event_id, occurred_at)
) PARTITION BY RANGE (occurred_at);

CREATE INDEX usage_event_by_time ON usage_event (boundary_id, occurred_at);

-- Hours whose events changed since they were last rolled up.
CREATE TABLE usage_dirty_hour (
    hour_start timestamptz PRIMARY KEY,
    marked_at timestamptz NOT NULL
);

CREATE SEQUENCE usage_rollup_sequence;

CREATE TABLE usage_hourly (
    boundary_id text NOT NULL,
    hour_start timestamptz NOT NULL,
    group_id text NOT NULL,
    model_version text NOT NULL,
    adapter_id text NOT NULL, -- '' when there is none: a key column cannot be null
    feature text NOT NULL,
    sequence bigint NOT NULL UNIQUE,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    errors jsonb NOT NULL,
    ttft_buckets bigint[] NOT NULL,
    duration_buckets bigint[] NOT NULL,
    ttft_sum_ms double precision NOT NULL,
    duration_sum_ms double precision NOT NULL,
    as_of timestamptz NOT NULL,
    is_final boolean NOT NULL,
    PRIMARY KEY (boundary_id, hour_start, group_id, model_version, adapter_id, feature)
);

CREATE INDEX usage_hourly_open ON usage_hourly (hour_start) WHERE NOT is_final;

-- Random, made at first start, never leaves this database: destroying it is erasure.
CREATE TABLE boundary_key (
    name text PRIMARY KEY,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
