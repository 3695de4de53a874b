-- depends: 0001_models
-- Finished predictions. Ids are UUIDv7, so the primary key is ordered by time and months are ranges of ids:
-- partitions are cut at those bounds, so that `id` alone is unique. The persister makes them ahead of time; an old month
-- goes by DROP TABLE.
SET LOCAL lock_timeout = '5s';

CREATE TABLE predictions (
    id                 uuid        NOT NULL,
    model_version_id   integer     NOT NULL REFERENCES model_versions (id) ON DELETE RESTRICT,
    input_data         jsonb       NOT NULL,
    output_data        jsonb,
    confidence         double precision CHECK (confidence BETWEEN 0 AND 1),
    processing_time_ms integer     CHECK (processing_time_ms >= 0),
    created_at         timestamptz NOT NULL,
    status             varchar(10) NOT NULL CHECK (status IN ('succeeded', 'failed', 'expired', 'cancelled')),
    error              varchar(500),
    attempt            integer     NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    principal          varchar(200) NOT NULL DEFAULT '',
    queue_time_ms      integer     CHECK (queue_time_ms >= 0),
    cached             boolean     NOT NULL DEFAULT false,
    completed_at       timestamptz NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT output_of_success CHECK (output_data IS NOT NULL OR status <> 'succeeded')
) PARTITION BY RANGE (id);

CREATE TABLE predictions_default PARTITION OF predictions DEFAULT;

-- History of one model version, of one caller, and of what went wrong, newest first.
CREATE INDEX predictions_by_version ON predictions (model_version_id, id DESC);
CREATE INDEX predictions_by_principal ON predictions (principal, id DESC);
CREATE INDEX predictions_unsuccessful ON predictions (status, id DESC) WHERE status <> 'succeeded';
