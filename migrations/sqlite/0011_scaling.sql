-- Swarms that grow and shrink with the work that waits. Same changes as migrations/postgres/0011_scaling.sql.

-- swarm_id: the swarm whose members are to do it; agent_id is none until one of them gets it.
ALTER TABLE task ADD COLUMN swarm_id BLOB;
-- scaled: a member that was added for work that waited, and ends when it has had none for a while.
ALTER TABLE agent ADD COLUMN scaled INTEGER NOT NULL DEFAULT 0;
CREATE INDEX task_of_swarm ON task (swarm_id, status, id);
CREATE INDEX agent_scaled ON agent (scaled, status);

-- How a swarm was scaled by the gateway; append-only. task_id: what a member was added for.
CREATE TABLE swarm_scaling (
    id       BLOB PRIMARY KEY NOT NULL,
    swarm_id BLOB NOT NULL REFERENCES swarm (id),
    at       TEXT NOT NULL,
    kind     TEXT NOT NULL,
    agent_id BLOB NOT NULL REFERENCES agent (id),
    task_id  BLOB REFERENCES task (id)
) STRICT;
CREATE INDEX swarm_scaling_of_swarm ON swarm_scaling (swarm_id, id);
