-- depends: 0010_registry
-- The persister drops a month that no model keeps any more without a right to drop tables: by this function, which runs as
-- the owner of the tables. It may delete these rows anyway, one by one. A month that is not over, or of which a version
-- has rows that is not said to be `not_kept`, stays.
--
-- First nobody but writers to that old month is held up: none may add a row between the look and the end. Dropping then
-- takes the whole table for some milliseconds; while others use it for longer than `lock_timeout`, nothing is dropped.
-- Each version is looked up in an index, whatever the planner expects of it.
SET LOCAL lock_timeout = '5s';
DO $$ BEGIN PERFORM set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true); END $$;

CREATE FUNCTION drop_predictions_partition(month date, not_kept integer[]) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET lock_timeout = '500ms' SET enable_seqscan = off
AS $function$
DECLARE
    this_month CONSTANT date := date_trunc('month', now() AT TIME ZONE 'UTC');
    next_month CONSTANT date := month + interval '1 month';
    suffix CONSTANT text := repeat('0', 20);
    name CONSTANT text := 'predictions_' || to_char(month, 'YYYY_MM');
    kept integer;
    found_one boolean;
BEGIN
    IF not_kept IS NULL OR extract(day FROM month) <> 1 OR month >= this_month THEN
        RETURN false;
    END IF;
    PERFORM FROM pg_inherits WHERE inhrelid = to_regclass(quote_ident(name)) AND inhparent = 'predictions'::regclass;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', name);
    FOR kept IN SELECT id FROM model_versions WHERE id <> ALL (not_kept) LOOP
        EXECUTE format(
            'SELECT EXISTS (SELECT FROM %1$I WHERE model_version_id = $1 AND shadow_of IS NULL)
                 OR EXISTS (SELECT FROM %1$I WHERE model_version_id = $1 AND shadow_of IS NOT NULL)', name
        ) INTO found_one USING kept;
        IF found_one THEN
            RETURN false;
        END IF;
    END LOOP;
    DELETE FROM feedback
    WHERE prediction_id >= (lpad(to_hex((extract(epoch FROM month) * 1000)::bigint), 12, '0') || suffix)::uuid
        AND prediction_id < (lpad(to_hex((extract(epoch FROM next_month) * 1000)::bigint), 12, '0') || suffix)::uuid;
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
END
$function$;

REVOKE EXECUTE ON FUNCTION drop_predictions_partition(date, integer[]) FROM PUBLIC;
