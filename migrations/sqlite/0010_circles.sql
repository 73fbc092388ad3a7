-- Agents that ask one another in a circle. Same changes as migrations/postgres/0010_circles.sql.

-- What a request came of: requests its sender was dealing with, and had not answered, when it wrote.
CREATE TABLE team_cause (
    message_id BLOB NOT NULL REFERENCES team_message (id),
    cause_id   BLOB NOT NULL REFERENCES team_message (id),
    PRIMARY KEY (message_id, cause_id)
) STRICT;

-- from_gateway: the gateway itself wrote it; from_agent is none then.
ALTER TABLE team_message ADD COLUMN from_gateway INTEGER NOT NULL DEFAULT 0;
-- circle: the agents that would have waited for one another, because of which the message asks nothing of this recipient.
ALTER TABLE team_delivery ADD COLUMN circle TEXT;
