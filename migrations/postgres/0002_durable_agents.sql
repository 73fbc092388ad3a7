-- Durable agents: many turns in one process, messages, limits, forks. Same changes as migrations/sqlite/0002_durable_agents.sql.

ALTER TABLE api_key ADD COLUMN limits JSON;

ALTER TABLE task ADD COLUMN key_id UUID;
ALTER TABLE task ADD COLUMN limits JSON;
ALTER TABLE task ADD COLUMN mode TEXT;
ALTER TABLE task ADD COLUMN joined_task_id UUID;
ALTER TABLE task ADD COLUMN dead_letter BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX task_of_agent ON task (agent_id, status, id);

ALTER TABLE agent ADD COLUMN key_id UUID;
ALTER TABLE agent ADD COLUMN durable BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE agent ADD COLUMN system_prompt TEXT;
ALTER TABLE agent ADD COLUMN limits JSON;
ALTER TABLE agent ADD COLUMN session_started BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE agent ADD COLUMN forked_from UUID;
ALTER TABLE agent ADD COLUMN terminate_requested BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE agent ADD COLUMN failure JSON;
ALTER TABLE agent ADD COLUMN idempotency_key TEXT;
ALTER TABLE agent ADD COLUMN request_hash TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX agent_idempotency ON agent (owner, idempotency_key);
CREATE INDEX agent_by_status ON agent (status);

ALTER TABLE run ADD COLUMN cost_usd DOUBLE PRECISION;
ALTER TABLE run ADD COLUMN tokens BIGINT;
-- What an agent wrote may hold a NUL, and PostgreSQL then refuses to read any field of it.
UPDATE run SET cost_usd = CASE WHEN CAST(outcome AS TEXT) NOT LIKE '%\\u0000%' THEN CAST(outcome ->> 'cost_usd' AS DOUBLE PRECISION) END;
CREATE INDEX run_by_start ON run (started_at);

-- A process may wait for its next turn, and then has no run.
ALTER TABLE process ALTER COLUMN run_id DROP NOT NULL;
CREATE INDEX process_of_agent ON process (agent_id, id);
