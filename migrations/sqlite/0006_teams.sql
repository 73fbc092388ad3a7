-- Teams: swarms of agents, and runs of workflows. Same changes as migrations/postgres/0006_teams.sql.

CREATE TABLE swarm (
    id              BLOB PRIMARY KEY NOT NULL,
    owner           TEXT NOT NULL,
    key_id          BLOB,
    name            TEXT NOT NULL,
    topology        TEXT NOT NULL,
    project         TEXT NOT NULL,
    objective       TEXT,
    max_agents      INTEGER NOT NULL,
    auto_scale      INTEGER NOT NULL,
    status          TEXT NOT NULL,
    generation      INTEGER NOT NULL,
    idempotency_key TEXT,
    request_hash    TEXT NOT NULL,
    provenance      TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL,
    stopped_at      TEXT
) STRICT;
CREATE UNIQUE INDEX swarm_idempotency ON swarm (owner, idempotency_key);
CREATE INDEX swarm_by_owner ON swarm (owner, id);
CREATE INDEX swarm_by_status ON swarm (status);

-- definition: the workflow as it was when the run began; input: what it was begun with.
CREATE TABLE workflow_run (
    id               BLOB PRIMARY KEY NOT NULL,
    owner            TEXT NOT NULL,
    key_id           BLOB,
    workflow         TEXT NOT NULL,
    title            TEXT NOT NULL,
    definition       TEXT NOT NULL,
    input            TEXT NOT NULL,
    project          TEXT NOT NULL,
    swarm_id         BLOB REFERENCES swarm (id),
    status           TEXT NOT NULL,
    generation       INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    result           TEXT,
    failure          TEXT,
    idempotency_key  TEXT,
    request_hash     TEXT NOT NULL,
    provenance       TEXT NOT NULL,
    created_at       TEXT NOT NULL,
    updated_at       TEXT NOT NULL,
    ended_at         TEXT
) STRICT;
CREATE UNIQUE INDEX workflow_run_idempotency ON workflow_run (owner, idempotency_key);
CREATE INDEX workflow_run_by_owner ON workflow_run (owner, id);
CREATE INDEX workflow_run_by_status ON workflow_run (status);
CREATE INDEX workflow_run_of_swarm ON workflow_run (swarm_id, id);

-- What happened in a run, in order; append-only.
CREATE TABLE workflow_transition (
    run_id BLOB NOT NULL REFERENCES workflow_run (id),
    seq    INTEGER NOT NULL,
    at     TEXT NOT NULL,
    kind   TEXT NOT NULL,
    data   TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT;

ALTER TABLE agent ADD COLUMN swarm_id BLOB;
ALTER TABLE agent ADD COLUMN swarm_place INTEGER;
ALTER TABLE agent ADD COLUMN workspace_name TEXT;
CREATE INDEX agent_of_swarm ON agent (swarm_id, swarm_place);
CREATE INDEX agent_of_workspace ON agent (workspace_name);

ALTER TABLE task ADD COLUMN workflow_run_id BLOB;
ALTER TABLE task ADD COLUMN workspace_name TEXT;
ALTER TABLE task ADD COLUMN reviewed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX task_of_workflow_run ON task (workflow_run_id, id);
