-- Where a task stands in the trace of the request that made it. Same changes as migrations/postgres/0005_traces.sql.

ALTER TABLE task ADD COLUMN traceparent TEXT;
