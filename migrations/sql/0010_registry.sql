-- depends: 0009_erasures
-- What is changed by API over the catalogue file. A version that was registered so has its entry here; of those that the
-- file names, which are active and which is the default may have been changed. `says` is what the file said of that at
-- the last migrate step: when it says something else, that holds. A registered version that was deleted stays, since
-- predictions refer to it.
SET LOCAL lock_timeout = '5s';

ALTER TABLE models
    ADD COLUMN worker_group varchar(100),
    ADD COLUMN says         text   NOT NULL DEFAULT '',
    ADD COLUMN generation   bigint NOT NULL DEFAULT 0;

ALTER TABLE model_versions
    ADD COLUMN entry           jsonb,
    ADD COLUMN artifact_digest varchar(100),
    ADD COLUMN registered_by   varchar(200),
    ADD COLUMN deleted_at      timestamptz,
    ADD CONSTRAINT registered_whole CHECK (num_nonnulls(entry, artifact_digest, registered_by) IN (0, 3)),
    ADD CONSTRAINT deleted_registered CHECK (deleted_at IS NULL OR (entry IS NOT NULL AND NOT is_active));

-- One row: rises with each change. Whoever changes something locks it first, so changes come one after another.
CREATE TABLE registry (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    epoch   bigint  NOT NULL DEFAULT 0
);

INSERT INTO registry DEFAULT VALUES;
