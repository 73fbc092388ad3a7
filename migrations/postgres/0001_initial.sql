-- First schema, PostgreSQL. Same tables and columns in the same order as migrations/sqlite/0001_initial.sql (a test compares them).
-- JSON, not JSONB: JSONB refuses \u0000, which agents do write, and reorders keys.

CREATE TABLE api_key (
    id          UUID PRIMARY KEY NOT NULL,
    user_name   TEXT NOT NULL,
    name        TEXT NOT NULL,
    scopes      JSON NOT NULL,
    hash_prefix BYTEA NOT NULL UNIQUE,
    hash        BYTEA NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    expires_at  TIMESTAMPTZ,
    revoked_at  TIMESTAMPTZ
);

-- agent_id and run_id have no foreign key: run refers to task, and a cycle would tie the order of inserts.
CREATE TABLE task (
    id               UUID PRIMARY KEY NOT NULL,
    owner            TEXT NOT NULL,
    title            TEXT NOT NULL,
    description      TEXT NOT NULL,
    agent_type       TEXT NOT NULL,
    project          TEXT NOT NULL,
    model            TEXT,
    priority         SMALLINT NOT NULL,
    timeout_seconds  BIGINT NOT NULL,
    budget_usd       DOUBLE PRECISION,
    on_lost          TEXT NOT NULL,
    output_schema    JSON,
    idempotency_key  TEXT,
    request_hash     TEXT NOT NULL,
    status           TEXT NOT NULL,
    generation       BIGINT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    agent_id         UUID,
    run_id           UUID,
    failure          JSON,
    provenance       TEXT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,
    started_at       TIMESTAMPTZ,
    ended_at         TIMESTAMPTZ
);
CREATE UNIQUE INDEX task_idempotency ON task (owner, idempotency_key);
CREATE INDEX task_claim ON task (status, priority, id);
CREATE INDEX task_by_owner ON task (owner, id);

CREATE TABLE agent (
    id          UUID PRIMARY KEY NOT NULL,
    owner       TEXT NOT NULL,
    name        TEXT NOT NULL,
    agent_type  TEXT NOT NULL,
    backend     TEXT NOT NULL,
    project     TEXT NOT NULL,
    model       TEXT,
    status      TEXT NOT NULL,
    generation  BIGINT NOT NULL,
    session_id  UUID NOT NULL,
    workspace   TEXT NOT NULL,
    branch      TEXT,
    base_commit TEXT,
    provenance  TEXT NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX agent_by_owner ON agent (owner, id);

CREATE TABLE run (
    id            UUID PRIMARY KEY NOT NULL,
    task_id       UUID NOT NULL REFERENCES task (id),
    agent_id      UUID NOT NULL REFERENCES agent (id),
    progress      TEXT NOT NULL,
    latest_output TEXT NOT NULL,
    outcome       JSON NOT NULL,
    started_at    TIMESTAMPTZ NOT NULL,
    ended_at      TIMESTAMPTZ
);
CREATE INDEX run_by_agent ON run (agent_id, id);

CREATE TABLE process (
    id            UUID PRIMARY KEY NOT NULL,
    agent_id      UUID NOT NULL REFERENCES agent (id),
    run_id        UUID NOT NULL REFERENCES run (id),
    stdout_offset BIGINT NOT NULL,
    state         JSON NOT NULL,
    started_at    TIMESTAMPTZ NOT NULL,
    ended_at      TIMESTAMPTZ
);
CREATE INDEX process_open ON process (id) WHERE ended_at IS NULL;

-- One foreign key only: each one costs a look-up per captured event. owner is the agent's, here for the index.
CREATE TABLE event (
    agent_id UUID NOT NULL REFERENCES agent (id),
    seq      BIGINT NOT NULL,
    task_id  UUID,
    task_seq BIGINT,
    cursor   BIGINT NOT NULL,
    owner    TEXT NOT NULL,
    run_id   UUID,
    at       TIMESTAMPTZ NOT NULL,
    kind     TEXT NOT NULL,
    data     JSON NOT NULL,
    PRIMARY KEY (agent_id, seq)
);
CREATE UNIQUE INDEX event_by_task ON event (task_id, task_seq);
CREATE UNIQUE INDEX event_by_cursor ON event (cursor);
CREATE INDEX event_by_owner ON event (owner, cursor);
CREATE INDEX event_of_agent ON event (agent_id, cursor);
CREATE INDEX event_of_task ON event (task_id, cursor);

-- One row: the highest cursor given out. Cursors are taken by updating it, which keeps other appends waiting until the
-- transaction has ended: whoever sees a cursor sees every lower one there will ever be.
CREATE TABLE event_cursor (
    last BIGINT NOT NULL
);
INSERT INTO event_cursor (last) VALUES (0);
