-- depends: 0012_priority
-- The options of an input that is no text: those of a text are in its object `input_data`.
SET LOCAL lock_timeout = '5s';

ALTER TABLE predictions ADD COLUMN options jsonb;
