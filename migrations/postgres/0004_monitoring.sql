-- What reports and metrics read. Same changes as migrations/sqlite/0004_monitoring.sql.

ALTER TABLE run ADD COLUMN model TEXT;
-- ->> refuses a document with the escape of a NUL character anywhere in it.
UPDATE run SET model = CASE WHEN CAST(outcome AS TEXT) NOT LIKE '%\\u0000%' THEN outcome ->> 'model' END;
CREATE INDEX task_by_end ON task (ended_at);
