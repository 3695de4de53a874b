DROP INDEX predictions_by_subject, predictions_copied_for, predictions_copies_by_version;
ALTER TABLE predictions DROP COLUMN shadow_for;
DROP TABLE erasures;
