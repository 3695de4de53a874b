DELETE FROM predictions WHERE shadow_of IS NOT NULL;
DROP INDEX predictions_by_version;
DROP INDEX predictions_unsuccessful;
DROP INDEX predictions_unsuccessful_by_version;
DROP INDEX predictions_by_experiment;
DROP INDEX predictions_by_original;
ALTER TABLE predictions DROP COLUMN experiment_id, DROP COLUMN arm, DROP COLUMN subject_id, DROP COLUMN shadow_of;
CREATE INDEX predictions_by_version ON predictions (model_version_id, id DESC);
CREATE INDEX predictions_unsuccessful ON predictions (status, id DESC) WHERE status <> 'succeeded';
CREATE INDEX predictions_unsuccessful_by_version ON predictions (model_version_id, status, id DESC)
    WHERE status <> 'succeeded';
DROP TABLE feedback;
DROP TABLE experiments;
