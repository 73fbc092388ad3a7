-- Swarms that grow and shrink with the work that waits. Same changes as migrations/sqlite/0011_scaling.sql.

-- swarm_id: the swarm whose members are to do it; agent_id is none until one of them gets it.
ALTER TABLE task ADD COLUMN swarm_id UUID;
-- scaled: a member that was added for work that waited, and ends when it has had none for a while.
ALTER TABLE agent ADD COLUMN scaled BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX task_of_swarm ON task (swarm_id, status, id);
CREATE INDEX agent_scaled ON agent (scaled, status);

-- How a swarm was scaled by the gateway; append-only. task_id: what a member was added for.
CREATE TABLE swarm_scaling (
    id       UUID PRIMARY KEY NOT NULL,
    swarm_id UUID NOT NULL REFERENCES swarm (id),
    at       TIMESTAMPTZ NOT NULL,
    kind     TEXT NOT NULL,
    agent_id UUID NOT NULL REFERENCES agent (id),
    task_id  UUID REFERENCES task (id)
);
CREATE INDEX swarm_scaling_of_swarm ON swarm_scaling (swarm_id, id);
