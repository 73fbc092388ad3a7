-- Teams: swarms of agents, and runs of workflows. Same changes as migrations/sqlite/0006_teams.sql.

CREATE TABLE swarm (
    id              UUID PRIMARY KEY NOT NULL,
    owner           TEXT NOT NULL,
    key_id          UUID,
    name            TEXT NOT NULL,
    topology        TEXT NOT NULL,
    project         TEXT NOT NULL,
    objective       TEXT,
    max_agents      BIGINT NOT NULL,
    auto_scale      BOOLEAN NOT NULL,
    status          TEXT NOT NULL,
    generation      BIGINT NOT NULL,
    idempotency_key TEXT,
    request_hash    TEXT NOT NULL,
    provenance      TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL,
    stopped_at      TIMESTAMPTZ
);
CREATE UNIQUE INDEX swarm_idempotency ON swarm (owner, idempotency_key);
CREATE INDEX swarm_by_owner ON swarm (owner, id);
CREATE INDEX swarm_by_status ON swarm (status);

-- definition: the workflow as it was when the run began; input: what it was begun with.
CREATE TABLE workflow_run (
    id               UUID PRIMARY KEY NOT NULL,
    owner            TEXT NOT NULL,
    key_id           UUID,
    workflow         TEXT NOT NULL,
    title            TEXT NOT NULL,
    definition       JSON NOT NULL,
    input            JSON NOT NULL,
    project          TEXT NOT NULL,
    swarm_id         UUID REFERENCES swarm (id),
    status           TEXT NOT NULL,
    generation       BIGINT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    result           JSON,
    failure          JSON,
    idempotency_key  TEXT,
    request_hash     TEXT NOT NULL,
    provenance       TEXT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL,
    ended_at         TIMESTAMPTZ
);
CREATE UNIQUE INDEX workflow_run_idempotency ON workflow_run (owner, idempotency_key);
CREATE INDEX workflow_run_by_owner ON workflow_run (owner, id);
CREATE INDEX workflow_run_by_status ON workflow_run (status);
CREATE INDEX workflow_run_of_swarm ON workflow_run (swarm_id, id);

-- What happened in a run, in order; append-only.
CREATE TABLE workflow_transition (
    run_id UUID NOT NULL REFERENCES workflow_run (id),
    seq    BIGINT NOT NULL,
    at     TIMESTAMPTZ NOT NULL,
    kind   TEXT NOT NULL,
    data   JSON NOT NULL,
    PRIMARY KEY (run_id, seq)
);

ALTER TABLE agent ADD COLUMN swarm_id UUID;
ALTER TABLE agent ADD COLUMN swarm_place BIGINT;
ALTER TABLE agent ADD COLUMN workspace_name TEXT;
CREATE INDEX agent_of_swarm ON agent (swarm_id, swarm_place);
CREATE INDEX agent_of_workspace ON agent (workspace_name);

ALTER TABLE task ADD COLUMN workflow_run_id UUID;
ALTER TABLE task ADD COLUMN workspace_name TEXT;
ALTER TABLE task ADD COLUMN reviewed BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX task_of_workflow_run ON task (workflow_run_id, id);
