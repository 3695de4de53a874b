-- depends: 0013_options
-- The tags of predictions, given when they were submitted: an object of short texts. Most have none, and are not in the
-- index. Making the index reads every row, and finds none with tags yet.
SET LOCAL lock_timeout = '5s';

ALTER TABLE predictions ADD COLUMN tags jsonb;
CREATE INDEX predictions_by_tag ON predictions USING gin (tags jsonb_path_ops) WHERE tags IS NOT NULL;
