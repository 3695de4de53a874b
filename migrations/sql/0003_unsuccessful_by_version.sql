-- depends: 0002_predictions
-- What went wrong with one version, newest first: without it, a version that hardly ever fails is read from its newest
-- to its oldest row to find a page. Partial, since most predictions succeed: it stays small and costs their rows nothing.
-- Making it reads every row and holds up writes meanwhile (about a second per million rows): results wait in Redis.
SET LOCAL lock_timeout = '5s';

CREATE INDEX predictions_unsuccessful_by_version ON predictions (model_version_id, status, id DESC)
    WHERE status <> 'succeeded';
