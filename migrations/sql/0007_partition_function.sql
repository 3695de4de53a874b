-- depends: 0006_experiments
-- The persister makes month partitions without a right to make tables: by this function, which runs as the owner of the
-- tables. It makes nothing else: its argument is the first day of a month, not more than 25 months from now.
--
-- It looks names up in this schema alone, and last where a caller could have made some (pg_temp, which otherwise comes
-- first). The bounds are those of shared/contract/ids.py: UUIDv7 begin with the time in ms.
SET LOCAL lock_timeout = '5s';
DO $$ BEGIN PERFORM set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true); END $$;

CREATE FUNCTION make_predictions_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $function$
DECLARE
    this_month CONSTANT date := date_trunc('month', now() AT TIME ZONE 'UTC');
    next_month CONSTANT date := month + interval '1 month';
    suffix CONSTANT text := repeat('0', 20);
BEGIN
    IF month IS NULL OR extract(day FROM month) <> 1
       OR month < this_month - interval '25 months' OR month > this_month + interval '25 months' THEN
        RAISE EXCEPTION 'there are partitions for months within 25 of this one, named by their first day: not for %', month
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format(
        'CREATE TABLE IF NOT EXISTS %I PARTITION OF predictions FOR VALUES FROM (%L) TO (%L)',
        'predictions_' || to_char(month, 'YYYY_MM'),
        (lpad(to_hex((extract(epoch FROM month) * 1000)::bigint), 12, '0') || suffix)::uuid,
        (lpad(to_hex((extract(epoch FROM next_month) * 1000)::bigint), 12, '0') || suffix)::uuid
    );
END
$function$;

REVOKE EXECUTE ON FUNCTION make_predictions_partition(date) FROM PUBLIC;
