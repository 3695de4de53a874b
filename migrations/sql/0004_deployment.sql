-- depends: 0003_unsuccessful_by_version
-- Which deployment this database belongs to: an id that is made once. The persister notes it in Redis and stores nothing
-- if another is noted there, since a Redis prefix that two databases share loses predictions for both.
SET LOCAL lock_timeout = '5s';

CREATE TABLE deployment (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    id      uuid    NOT NULL DEFAULT gen_random_uuid()
);

INSERT INTO deployment DEFAULT VALUES;
