-- The catalogue as the database knows it; filled from models/models.toml by the migrate step.
SET LOCAL lock_timeout = '5s';

CREATE TABLE models (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        varchar(100) NOT NULL UNIQUE CHECK (name <> ''),
    description varchar(500) NOT NULL,
    task        varchar(200) NOT NULL,
    created_at  timestamptz  NOT NULL DEFAULT now()
);

CREATE TABLE model_versions (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id      integer      NOT NULL REFERENCES models (id) ON DELETE RESTRICT,
    version       varchar(20)  NOT NULL CHECK (version <> ''),
    artifact_path varchar(255) NOT NULL,
    is_active     boolean      NOT NULL DEFAULT true,
    is_default    boolean      NOT NULL DEFAULT false,
    created_at    timestamptz  NOT NULL DEFAULT now(),
    UNIQUE (model_id, version),
    CHECK (is_active OR NOT is_default)
);

-- A model has at most one default version.
CREATE UNIQUE INDEX model_versions_one_default ON model_versions (model_id) WHERE is_default;
