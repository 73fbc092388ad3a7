-- Durable agents: many turns in one process, messages, limits, forks. Same changes as migrations/postgres/0002_durable_agents.sql.

ALTER TABLE api_key ADD COLUMN limits TEXT;

ALTER TABLE task ADD COLUMN key_id BLOB;
ALTER TABLE task ADD COLUMN limits TEXT;
ALTER TABLE task ADD COLUMN mode TEXT;
ALTER TABLE task ADD COLUMN joined_task_id BLOB;
ALTER TABLE task ADD COLUMN dead_letter INTEGER NOT NULL DEFAULT 0;
CREATE INDEX task_of_agent ON task (agent_id, status, id);

ALTER TABLE agent ADD COLUMN key_id BLOB;
ALTER TABLE agent ADD COLUMN durable INTEGER NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN system_prompt TEXT;
ALTER TABLE agent ADD COLUMN limits TEXT;
ALTER TABLE agent ADD COLUMN session_started INTEGER NOT NULL DEFAULT 1;
ALTER TABLE agent ADD COLUMN forked_from BLOB;
ALTER TABLE agent ADD COLUMN terminate_requested INTEGER NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN failure TEXT;
ALTER TABLE agent ADD COLUMN idempotency_key TEXT;
ALTER TABLE agent ADD COLUMN request_hash TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX agent_idempotency ON agent (owner, idempotency_key);
CREATE INDEX agent_by_status ON agent (status);

ALTER TABLE run ADD COLUMN cost_usd REAL;
ALTER TABLE run ADD COLUMN tokens INTEGER;
UPDATE run SET cost_usd = outcome ->> '$.cost_usd';
CREATE INDEX run_by_start ON run (started_at);

-- A process may wait for its next turn, and then has no run.
CREATE TABLE new_process (
    id            BLOB PRIMARY KEY NOT NULL,
    agent_id      BLOB NOT NULL REFERENCES agent (id),
    run_id        BLOB REFERENCES run (id),
    stdout_offset INTEGER NOT NULL,
    state         TEXT NOT NULL,
    started_at    TEXT NOT NULL,
    ended_at      TEXT
) STRICT;
INSERT INTO new_process (id, agent_id, run_id, stdout_offset, state, started_at, ended_at)
SELECT id, agent_id, run_id, stdout_offset, state, started_at, ended_at FROM process;
DROP TABLE process;
ALTER TABLE new_process RENAME TO process;
CREATE INDEX process_open ON process (id) WHERE ended_at IS NULL;
CREATE INDEX process_of_agent ON process (agent_id, id);
