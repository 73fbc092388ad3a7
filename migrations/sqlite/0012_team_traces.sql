-- Where runs of workflows and proposals stand in the trace of the request that made them. Same changes as migrations/postgres/0012_team_traces.sql.

ALTER TABLE workflow_run ADD COLUMN traceparent TEXT;
ALTER TABLE proposal ADD COLUMN traceparent TEXT;
