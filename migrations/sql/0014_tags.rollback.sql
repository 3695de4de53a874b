DROP INDEX predictions_by_tag;
ALTER TABLE predictions DROP COLUMN tags;
