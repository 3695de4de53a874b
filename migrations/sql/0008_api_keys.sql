-- depends: 0007_partition_function
-- API keys: who they are of and what they allow. The secret of a key is not here: an HMAC of it is, and the secret of
-- that is not in the database. A key that was taken back keeps its row, so that it can be told who had it.
SET LOCAL lock_timeout = '5s';

CREATE TABLE principals (
    id         varchar(28)  PRIMARY KEY CHECK (id ~ '^p_[a-z2-7]{26}$'),
    issuer     varchar(500) NOT NULL,
    subject    varchar(255) NOT NULL,
    tenant     varchar(100) NOT NULL,
    models     text[]       NOT NULL,
    profile    varchar(100) NOT NULL,
    created_at timestamptz  NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    id           varchar(16) PRIMARY KEY CHECK (id ~ '^[a-z2-7]{16}$'),
    principal_id varchar(28) NOT NULL REFERENCES principals (id) ON DELETE RESTRICT,
    secret_hmac  bytea       NOT NULL CHECK (length(secret_hmac) = 32),
    scopes       text[]      NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);

-- Who did what. The digest of each entry is made over it and the digest of the one before: see shared/contract/audit.py.
CREATE TABLE audit_log (
    number    bigint       PRIMARY KEY CHECK (number > 0),
    at        timestamptz  NOT NULL,
    principal varchar(28)  NOT NULL,
    action    varchar(50)  NOT NULL,
    target    varchar(200) NOT NULL,
    before    text,
    after     text,
    outcome   varchar(50)  NOT NULL,
    digest    bytea        NOT NULL CHECK (length(digest) = 32)
);
