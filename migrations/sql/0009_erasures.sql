-- depends: 0008_api_keys
-- What administrators have asked to have erased, and how far that is. The gateway adds a row; a persister takes one whose
-- time has come and moves that time on, so that another goes on with it if it dies. The new indexes are of rows that hardly
-- any deployment has; making them reads every row and holds up writes meanwhile (about a second per million rows).
SET LOCAL lock_timeout = '5s';

CREATE TABLE erasures (
    id           uuid         PRIMARY KEY,
    principal    varchar(200),
    subject_id   varchar(64),
    before       timestamptz,
    below        uuid         NOT NULL,
    requested_by varchar(200) NOT NULL,
    requested_at timestamptz  NOT NULL DEFAULT now(),
    state        varchar(10)  NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done')),
    finished_at  timestamptz,
    rows         bigint       NOT NULL DEFAULT 0,
    requests     bigint       NOT NULL DEFAULT 0,
    dead_letters bigint       NOT NULL DEFAULT 0,
    waiting      bigint       NOT NULL DEFAULT 0,
    note         varchar(500) NOT NULL DEFAULT '',
    next_at      timestamptz  DEFAULT now(),
    CHECK (num_nonnulls(principal, subject_id, before) > 0),
    CHECK ((state = 'done') = (finished_at IS NOT NULL))
);

CREATE INDEX erasures_by_next ON erasures (next_at) WHERE next_at IS NOT NULL;

-- Whose request a copy for a shadow version is a copy of: copies belong to nobody, but go with their originals.
ALTER TABLE predictions ADD COLUMN shadow_for varchar(200);

CREATE INDEX predictions_by_subject ON predictions (subject_id, id) WHERE subject_id IS NOT NULL;
CREATE INDEX predictions_copied_for ON predictions (shadow_for, id) WHERE shadow_for IS NOT NULL;
CREATE INDEX predictions_copies_by_version ON predictions (model_version_id, id) WHERE shadow_of IS NOT NULL;
