DROP TABLE usage;
ALTER TABLE predictions DROP COLUMN tokens, DROP COLUMN compute_us, DROP COLUMN input_bytes;
