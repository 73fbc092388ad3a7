-- Proposals and their ballots. Same changes as migrations/sqlite/0008_consensus.sql.

-- rules: protocol, threshold, options, weights; seats: who votes at which place, and who is lost.
CREATE TABLE proposal (
    id              UUID PRIMARY KEY NOT NULL,
    owner           TEXT NOT NULL,
    key_id          UUID,
    question        TEXT NOT NULL,
    protocol        TEXT NOT NULL,
    rules           JSON NOT NULL,
    seats           JSON NOT NULL,
    project         TEXT NOT NULL,
    status          TEXT NOT NULL,
    generation      BIGINT NOT NULL,
    round           BIGINT NOT NULL,
    outcome         JSON,
    timeout_seconds BIGINT NOT NULL,
    idempotency_key TEXT,
    request_hash    TEXT NOT NULL,
    provenance      TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL,
    deadline_at     TIMESTAMPTZ NOT NULL,
    ended_at        TIMESTAMPTZ
);
CREATE UNIQUE INDEX proposal_idempotency ON proposal (owner, idempotency_key);
CREATE INDEX proposal_by_owner ON proposal (owner, id);
CREATE INDEX proposal_by_status ON proposal (status, id);
CREATE INDEX proposal_ended ON proposal (ended_at);

-- A question to a voter and its answer. data: what the protocol needs besides the choice.
CREATE TABLE ballot (
    proposal_id UUID NOT NULL REFERENCES proposal (id),
    round       BIGINT NOT NULL,
    phase       TEXT NOT NULL,
    place       BIGINT NOT NULL,
    attempt     BIGINT NOT NULL,
    status      TEXT NOT NULL,
    task_id     UUID NOT NULL REFERENCES task (id),
    agent_id    UUID,
    run_id      UUID,
    choice      TEXT,
    rationale   TEXT,
    confidence  DOUBLE PRECISION,
    data        JSON,
    reason      TEXT,
    asked_at    TIMESTAMPTZ NOT NULL,
    cast_at     TIMESTAMPTZ,
    PRIMARY KEY (proposal_id, round, phase, place, attempt)
);
CREATE INDEX ballot_by_task ON ballot (task_id);
