-- What reports and metrics read. Same changes as migrations/postgres/0004_monitoring.sql.

ALTER TABLE run ADD COLUMN model TEXT;
UPDATE run SET model = outcome ->> '$.model';
CREATE INDEX task_by_end ON task (ended_at);
