-- depends: 0005_usage
-- Experiments between versions of a model, what callers say of answers, and what a prediction had to do with either.
-- Copies for a shadow version are stored beside the predictions that were asked for (`shadow_of`), but belong to nobody's
-- history, so the indexes of the history leave them out. Making these reads every row and holds up writes meanwhile
-- (about three seconds per million rows): results wait in Redis. Gateways of the version before find no index for the
-- history of one version until they are replaced.
SET LOCAL lock_timeout = '5s';

CREATE TABLE experiments (
    id         uuid         PRIMARY KEY DEFAULT gen_random_uuid(),
    model      varchar(100) NOT NULL CHECK (model <> ''),
    arms       jsonb        NOT NULL CHECK (jsonb_array_length(arms) BETWEEN 1 AND 10),
    shadow     jsonb,
    started_at timestamptz  NOT NULL DEFAULT clock_timestamp(),
    stopped_at timestamptz
);

-- A model has at most one experiment at a time.
CREATE UNIQUE INDEX experiments_one_running ON experiments (model) WHERE stopped_at IS NULL;
CREATE INDEX experiments_by_model ON experiments (model, started_at DESC);

CREATE TABLE feedback (
    prediction_id uuid         PRIMARY KEY,
    correct       boolean,
    label         varchar(200),
    principal     varchar(200) NOT NULL DEFAULT '',
    at            timestamptz  NOT NULL DEFAULT now(),
    CONSTRAINT correct_or_label CHECK (num_nonnulls(correct, label) = 1)
);

ALTER TABLE predictions
    ADD COLUMN experiment_id uuid,
    ADD COLUMN arm           varchar(40),
    ADD COLUMN subject_id    varchar(64),
    ADD COLUMN shadow_of     uuid;

-- The results of an experiment, in the order of acceptance; the copy of a prediction.
CREATE INDEX predictions_by_experiment ON predictions (experiment_id, id) WHERE experiment_id IS NOT NULL;
CREATE INDEX predictions_by_original ON predictions (shadow_of) WHERE shadow_of IS NOT NULL;

DROP INDEX predictions_by_version;
DROP INDEX predictions_unsuccessful;
DROP INDEX predictions_unsuccessful_by_version;
CREATE INDEX predictions_by_version ON predictions (model_version_id, id DESC) WHERE shadow_of IS NULL;
CREATE INDEX predictions_unsuccessful ON predictions (status, id DESC)
    WHERE status <> 'succeeded' AND shadow_of IS NULL;
CREATE INDEX predictions_unsuccessful_by_version ON predictions (model_version_id, status, id DESC)
    WHERE status <> 'succeeded' AND shadow_of IS NULL;
