ALTER TABLE predictions DROP COLUMN worker, DROP COLUMN trace_id;
