DROP TABLE registry;
ALTER TABLE model_versions
    DROP COLUMN entry, DROP COLUMN artifact_digest, DROP COLUMN registered_by, DROP COLUMN deleted_at;
ALTER TABLE models DROP COLUMN worker_group, DROP COLUMN says, DROP COLUMN generation;
