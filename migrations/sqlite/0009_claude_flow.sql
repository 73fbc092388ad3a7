-- claude-flow: the CLI behind a task, and what its records in a project stand for. Same changes as
-- migrations/postgres/0009_claude_flow.sql.

ALTER TABLE task ADD COLUMN backend TEXT NOT NULL DEFAULT 'claude-code';

-- our_id: one of ours, such as swarm_0193…; their_id: claude-flow's; told: what it was told last, as of updated_at.
-- The row without ids is how far the changes of the project have been told.
CREATE TABLE mirrored (
    project    TEXT NOT NULL,
    our_id     TEXT NOT NULL,
    their_id   TEXT NOT NULL,
    told       TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (project, our_id)
) STRICT;

CREATE INDEX task_by_change ON task (updated_at, id);
CREATE INDEX agent_by_change ON agent (updated_at, id);
CREATE INDEX proposal_by_change ON proposal (updated_at, id);
CREATE INDEX swarm_by_change ON swarm (updated_at, id);
