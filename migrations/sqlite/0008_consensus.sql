-- Proposals and their ballots. Same changes as migrations/postgres/0008_consensus.sql.

-- rules: protocol, threshold, options, weights; seats: who votes at which place, and who is lost.
CREATE TABLE proposal (
    id              BLOB PRIMARY KEY NOT NULL,
    owner           TEXT NOT NULL,
    key_id          BLOB,
    question        TEXT NOT NULL,
    protocol        TEXT NOT NULL,
    rules           TEXT NOT NULL,
    seats           TEXT NOT NULL,
    project         TEXT NOT NULL,
    status          TEXT NOT NULL,
    generation      INTEGER NOT NULL,
    round           INTEGER NOT NULL,
    outcome         TEXT,
    timeout_seconds INTEGER NOT NULL,
    idempotency_key TEXT,
    request_hash    TEXT NOT NULL,
    provenance      TEXT NOT NULL,
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL,
    deadline_at     TEXT NOT NULL,
    ended_at        TEXT
) STRICT;
CREATE UNIQUE INDEX proposal_idempotency ON proposal (owner, idempotency_key);
CREATE INDEX proposal_by_owner ON proposal (owner, id);
CREATE INDEX proposal_by_status ON proposal (status, id);
CREATE INDEX proposal_ended ON proposal (ended_at);

-- A question to a voter and its answer. data: what the protocol needs besides the choice.
CREATE TABLE ballot (
    proposal_id BLOB NOT NULL REFERENCES proposal (id),
    round       INTEGER NOT NULL,
    phase       TEXT NOT NULL,
    place       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    status      TEXT NOT NULL,
    task_id     BLOB NOT NULL REFERENCES task (id),
    agent_id    BLOB,
    run_id      BLOB,
    choice      TEXT,
    rationale   TEXT,
    confidence  REAL,
    data        TEXT,
    reason      TEXT,
    asked_at    TEXT NOT NULL,
    cast_at     TEXT,
    PRIMARY KEY (proposal_id, round, phase, place, attempt)
) STRICT;
CREATE INDEX ballot_by_task ON ballot (task_id);
