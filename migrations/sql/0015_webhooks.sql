-- depends: 0014_tags
-- Callbacks that are due: a row is added in the transaction that stores its prediction, and deleted once it is delivered,
-- or given up after a day. So the table is small, and has no months. What is sent is read from the prediction itself.
SET LOCAL lock_timeout = '5s';

CREATE TABLE webhooks (
    prediction_id uuid          NOT NULL,
    attempt       int           NOT NULL,
    url           varchar(2000) NOT NULL,
    host          varchar(300)  NOT NULL,
    created_at    timestamptz   NOT NULL DEFAULT now(),
    tries         int           NOT NULL DEFAULT 0,
    next_at       timestamptz   NOT NULL DEFAULT now(),
    last_error    varchar(500)  NOT NULL DEFAULT '',
    PRIMARY KEY (prediction_id, attempt)
);

CREATE INDEX webhooks_by_next ON webhooks (next_at);
