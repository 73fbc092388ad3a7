-- Messages between the agents of a swarm, and the memory they share. Same changes as migrations/sqlite/0007_messages.sql,
-- but for how text is searched, which each engine has its own means for.

-- from_agent: none when the user wrote it. to_kind says which of to_agent and to_role is set, if any.
-- hops: how many messages led to one another by waking agents, up to this one.
CREATE TABLE team_message (
    id                UUID PRIMARY KEY NOT NULL,
    swarm_id          UUID NOT NULL REFERENCES swarm (id),
    owner             TEXT NOT NULL,
    thread_id         UUID NOT NULL,
    from_agent        UUID REFERENCES agent (id),
    to_kind           TEXT NOT NULL,
    to_agent          UUID REFERENCES agent (id),
    to_role           TEXT,
    kind              TEXT NOT NULL,
    priority          SMALLINT NOT NULL,
    subject           TEXT NOT NULL,
    body              TEXT NOT NULL,
    requires_response BOOLEAN NOT NULL,
    deadline          TIMESTAMPTZ,
    in_reply_to       UUID REFERENCES team_message (id),
    hops              BIGINT NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL,
    idempotency_key   TEXT,
    request_hash      TEXT NOT NULL
);
CREATE UNIQUE INDEX team_message_idempotency ON team_message (owner, idempotency_key);
CREATE INDEX team_message_of_swarm ON team_message (swarm_id, id);
CREATE INDEX team_message_of_thread ON team_message (thread_id, id);

-- One row for each agent that gets a message. wake_task_id: the turn that was asked for so that it is read.
CREATE TABLE team_delivery (
    message_id   UUID NOT NULL REFERENCES team_message (id),
    agent_id     UUID NOT NULL REFERENCES agent (id),
    read_at      TIMESTAMPTZ,
    answered_by  UUID REFERENCES team_message (id),
    wake_task_id UUID REFERENCES task (id),
    PRIMARY KEY (message_id, agent_id)
);
CREATE INDEX team_delivery_of_agent ON team_delivery (agent_id, read_at, message_id);
CREATE INDEX team_delivery_of_wake ON team_delivery (wake_task_id);

-- What is remembered; append-only. scope_id: the swarm or the run of a workflow it belongs to. words: what search finds it by.
CREATE TABLE memory (
    id              UUID PRIMARY KEY NOT NULL,
    owner           TEXT NOT NULL,
    kind            TEXT NOT NULL,
    scope_id        UUID NOT NULL,
    swarm_id        UUID REFERENCES swarm (id),
    workflow_run_id UUID REFERENCES workflow_run (id),
    agent_id        UUID REFERENCES agent (id),
    thread_id       UUID,
    words           TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL
);
CREATE INDEX memory_of_scope ON memory (scope_id, id);

CREATE TABLE finding (
    id         UUID PRIMARY KEY NOT NULL REFERENCES memory (id),
    claim      TEXT NOT NULL,
    confidence TEXT NOT NULL,
    sources    JSON NOT NULL
);

-- Every version is a row.
CREATE TABLE artifact (
    id       UUID PRIMARY KEY NOT NULL REFERENCES memory (id),
    scope_id UUID NOT NULL,
    name     TEXT NOT NULL,
    version  BIGINT NOT NULL,
    kind     TEXT NOT NULL,
    content  TEXT,
    file     TEXT
);
CREATE UNIQUE INDEX artifact_version ON artifact (scope_id, name, version);

CREATE TABLE decision (
    id           UUID PRIMARY KEY NOT NULL REFERENCES memory (id),
    decision     TEXT NOT NULL,
    rationale    TEXT NOT NULL,
    alternatives JSON NOT NULL
);

-- Verdicts on findings and artifacts; append-only, the last one of an agent counts. agent_id: none when it is the user's.
CREATE TABLE memory_verdict (
    id         UUID PRIMARY KEY NOT NULL,
    memory_id  UUID NOT NULL REFERENCES memory (id),
    agent_id   UUID REFERENCES agent (id),
    verdict    TEXT NOT NULL,
    comment    TEXT,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX memory_verdict_of_memory ON memory_verdict (memory_id, id);

-- Each engine searches by its own means:
CREATE INDEX memory_search ON memory USING gin (to_tsvector('simple', words));
