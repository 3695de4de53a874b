-- depends: 0015_webhooks
-- Which worker finished a prediction, and its trace; of rows from before neither is known.
SET LOCAL lock_timeout = '5s';

ALTER TABLE predictions ADD COLUMN worker text, ADD COLUMN trace_id uuid;
