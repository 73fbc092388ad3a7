-- Answers kept for exact retries. Same changes as migrations/sqlite/0003_answers.sql.

CREATE TABLE answer (
    owner           TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash    TEXT NOT NULL,
    status          INTEGER NOT NULL,
    body            TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (owner, idempotency_key)
);
CREATE INDEX answer_by_age ON answer (created_at);
