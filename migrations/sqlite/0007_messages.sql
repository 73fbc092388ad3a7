-- Messages between the agents of a swarm, and the memory they share. Same changes as migrations/postgres/0007_messages.sql,
-- but for how text is searched, which each engine has its own means for.

-- from_agent: none when the user wrote it. to_kind says which of to_agent and to_role is set, if any.
-- hops: how many messages led to one another by waking agents, up to this one.
CREATE TABLE team_message (
    id                BLOB PRIMARY KEY NOT NULL,
    swarm_id          BLOB NOT NULL REFERENCES swarm (id),
    owner             TEXT NOT NULL,
    thread_id         BLOB NOT NULL,
    from_agent        BLOB REFERENCES agent (id),
    to_kind           TEXT NOT NULL,
    to_agent          BLOB REFERENCES agent (id),
    to_role           TEXT,
    kind              TEXT NOT NULL,
    priority          INTEGER NOT NULL,
    subject           TEXT NOT NULL,
    body              TEXT NOT NULL,
    requires_response INTEGER NOT NULL,
    deadline          TEXT,
    in_reply_to       BLOB REFERENCES team_message (id),
    hops              INTEGER NOT NULL,
    created_at        TEXT NOT NULL,
    idempotency_key   TEXT,
    request_hash      TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX team_message_idempotency ON team_message (owner, idempotency_key);
CREATE INDEX team_message_of_swarm ON team_message (swarm_id, id);
CREATE INDEX team_message_of_thread ON team_message (thread_id, id);

-- One row for each agent that gets a message. wake_task_id: the turn that was asked for so that it is read.
CREATE TABLE team_delivery (
    message_id   BLOB NOT NULL REFERENCES team_message (id),
    agent_id     BLOB NOT NULL REFERENCES agent (id),
    read_at      TEXT,
    answered_by  BLOB REFERENCES team_message (id),
    wake_task_id BLOB REFERENCES task (id),
    PRIMARY KEY (message_id, agent_id)
) STRICT;
CREATE INDEX team_delivery_of_agent ON team_delivery (agent_id, read_at, message_id);
CREATE INDEX team_delivery_of_wake ON team_delivery (wake_task_id);

-- What is remembered; append-only. scope_id: the swarm or the run of a workflow it belongs to. words: what search finds it by.
CREATE TABLE memory (
    id              BLOB PRIMARY KEY NOT NULL,
    owner           TEXT NOT NULL,
    kind            TEXT NOT NULL,
    scope_id        BLOB NOT NULL,
    swarm_id        BLOB REFERENCES swarm (id),
    workflow_run_id BLOB REFERENCES workflow_run (id),
    agent_id        BLOB REFERENCES agent (id),
    thread_id       BLOB,
    words           TEXT NOT NULL,
    created_at      TEXT NOT NULL
) STRICT;
CREATE INDEX memory_of_scope ON memory (scope_id, id);

CREATE TABLE finding (
    id         BLOB PRIMARY KEY NOT NULL REFERENCES memory (id),
    claim      TEXT NOT NULL,
    confidence TEXT NOT NULL,
    sources    TEXT NOT NULL
) STRICT;

-- Every version is a row.
CREATE TABLE artifact (
    id       BLOB PRIMARY KEY NOT NULL REFERENCES memory (id),
    scope_id BLOB NOT NULL,
    name     TEXT NOT NULL,
    version  INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    content  TEXT,
    file     TEXT
) STRICT;
CREATE UNIQUE INDEX artifact_version ON artifact (scope_id, name, version);

CREATE TABLE decision (
    id           BLOB PRIMARY KEY NOT NULL REFERENCES memory (id),
    decision     TEXT NOT NULL,
    rationale    TEXT NOT NULL,
    alternatives TEXT NOT NULL
) STRICT;

-- Verdicts on findings and artifacts; append-only, the last one of an agent counts. agent_id: none when it is the user's.
CREATE TABLE memory_verdict (
    id         BLOB PRIMARY KEY NOT NULL,
    memory_id  BLOB NOT NULL REFERENCES memory (id),
    agent_id   BLOB REFERENCES agent (id),
    verdict    TEXT NOT NULL,
    comment    TEXT,
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX memory_verdict_of_memory ON memory_verdict (memory_id, id);

-- Each engine searches by its own means:
CREATE VIRTUAL TABLE memory_search USING fts5 (words, scope, memory_id UNINDEXED, tokenize = 'unicode61 remove_diacritics 0');
CREATE TRIGGER memory_searched AFTER INSERT ON memory BEGIN
    INSERT INTO memory_search (words, scope, memory_id) VALUES (new.words, lower(hex(new.scope_id)), new.id);
END;
