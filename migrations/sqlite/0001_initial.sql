-- First schema, SQLite. Same tables and columns in the same order as migrations/postgres/0001_initial.sql (a test compares them).
-- uuid: BLOB; time: TEXT, RFC 3339 in UTC; boolean: INTEGER 0/1; json: TEXT.

CREATE TABLE api_key (
    id          BLOB PRIMARY KEY NOT NULL,
    user_name   TEXT NOT NULL,
    name        TEXT NOT NULL,
    scopes      TEXT NOT NULL,
    hash_prefix BLOB NOT NULL UNIQUE,
    hash        BLOB NOT NULL,
    created_at  TEXT NOT NULL,
    expires_at  TEXT,
    revoked_at  TEXT
) STRICT;

-- agent_id and run_id have no foreign key: run refers to task, and a cycle would tie the order of inserts.
CREATE TABLE task (
    id               BLOB PRIMARY KEY NOT NULL,
    owner            TEXT NOT NULL,
    title            TEXT NOT NULL,
    description      TEXT NOT NULL,
    agent_type       TEXT NOT NULL,
    project          TEXT NOT NULL,
    model            TEXT,
    priority         INTEGER NOT NULL,
    timeout_seconds  INTEGER NOT NULL,
    budget_usd       REAL,
    on_lost          TEXT NOT NULL,
    output_schema    TEXT,
    idempotency_key  TEXT,
    request_hash     TEXT NOT NULL,
    status           TEXT NOT NULL,
    generation       INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    agent_id         BLOB,
    run_id           BLOB,
    failure          TEXT,
    provenance       TEXT NOT NULL,
    created_at       TEXT NOT NULL,
    updated_at       TEXT NOT NULL,
    started_at       TEXT,
    ended_at         TEXT
) STRICT;
CREATE UNIQUE INDEX task_idempotency ON task (owner, idempotency_key);
CREATE INDEX task_claim ON task (status, priority, id);
CREATE INDEX task_by_owner ON task (owner, id);

CREATE TABLE agent (
    id          BLOB PRIMARY KEY NOT NULL,
    owner       TEXT NOT NULL,
    name        TEXT NOT NULL,
    agent_type  TEXT NOT NULL,
    backend     TEXT NOT NULL,
    project     TEXT NOT NULL,
    model       TEXT,
    status      TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    session_id  BLOB NOT NULL,
    workspace   TEXT NOT NULL,
    branch      TEXT,
    base_commit TEXT,
    provenance  TEXT NOT NULL,
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL
) STRICT;
CREATE INDEX agent_by_owner ON agent (owner, id);

CREATE TABLE run (
    id            BLOB PRIMARY KEY NOT NULL,
    task_id       BLOB NOT NULL REFERENCES task (id),
    agent_id      BLOB NOT NULL REFERENCES agent (id),
    progress      TEXT NOT NULL,
    latest_output TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    started_at    TEXT NOT NULL,
    ended_at      TEXT
) STRICT;
CREATE INDEX run_by_agent ON run (agent_id, id);

CREATE TABLE process (
    id            BLOB PRIMARY KEY NOT NULL,
    agent_id      BLOB NOT NULL REFERENCES agent (id),
    run_id        BLOB NOT NULL REFERENCES run (id),
    stdout_offset INTEGER NOT NULL,
    state         TEXT NOT NULL,
    started_at    TEXT NOT NULL,
    ended_at      TEXT
) STRICT;
CREATE INDEX process_open ON process (id) WHERE ended_at IS NULL;

-- One foreign key only: each one costs a look-up per captured event. owner is the agent's, here for the index.
CREATE TABLE event (
    agent_id BLOB NOT NULL REFERENCES agent (id),
    seq      INTEGER NOT NULL,
    task_id  BLOB,
    task_seq INTEGER,
    cursor   INTEGER NOT NULL,
    owner    TEXT NOT NULL,
    run_id   BLOB,
    at       TEXT NOT NULL,
    kind     TEXT NOT NULL,
    data     TEXT NOT NULL,
    PRIMARY KEY (agent_id, seq)
) STRICT;
CREATE UNIQUE INDEX event_by_task ON event (task_id, task_seq);
CREATE UNIQUE INDEX event_by_cursor ON event (cursor);
CREATE INDEX event_by_owner ON event (owner, cursor);
CREATE INDEX event_of_agent ON event (agent_id, cursor);
CREATE INDEX event_of_task ON event (task_id, cursor);

-- One row: the highest cursor given out. Cursors are taken by updating it, which keeps other appends waiting until the
-- transaction has ended: whoever sees a cursor sees every lower one there will ever be.
CREATE TABLE event_cursor (
    last INTEGER NOT NULL
) STRICT;
INSERT INTO event_cursor (last) VALUES (0);
