-- depends: 0004_deployment
-- What callers have used, by day and model version. The persister adds to it in the transaction that stores the rows it
-- counts, so that it agrees with them however often a result comes, and stays when they are dropped.
SET LOCAL lock_timeout = '5s';

-- Without a default for the rows there are: adding the columns takes no time.
ALTER TABLE predictions
    ADD COLUMN tokens      integer CHECK (tokens >= 0),
    ADD COLUMN compute_us  integer CHECK (compute_us >= 0),
    ADD COLUMN input_bytes integer CHECK (input_bytes >= 0);

CREATE TABLE usage (
    day              date         NOT NULL,
    principal        varchar(200) NOT NULL,
    model_version_id integer      NOT NULL REFERENCES model_versions (id) ON DELETE RESTRICT,
    requests         bigint       NOT NULL,
    failed           bigint       NOT NULL,
    tokens           bigint       NOT NULL,
    compute_us       bigint       NOT NULL,
    input_bytes      bigint       NOT NULL,
    PRIMARY KEY (principal, day, model_version_id)
);

-- Of all callers.
CREATE INDEX usage_by_day ON usage (day, model_version_id);
