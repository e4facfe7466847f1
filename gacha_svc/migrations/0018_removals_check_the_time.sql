-- What is recent is kept, whatever the session's settings are and however the age is written: an
-- ASSERT can be switched off, and an age of some months and days can end in the future though it
-- compares as a day. So the time that the age leads to is checked, in UTC, and deleted by.

CREATE OR REPLACE FUNCTION forget_ended_sagas(age interval, max_count integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    ended_before timestamptz := now() - age;
    removed_count integer;
BEGIN
    IF (ended_before <= now() - interval '1 day') IS NOT TRUE THEN
        RAISE 'what ended within a day is kept';
    END IF;
    DELETE FROM saga WHERE saga_id = ANY(ARRAY(
        SELECT saga_id FROM saga
        WHERE due_at IS NULL AND NOT is_parked AND updated_at < ended_before
        ORDER BY updated_at LIMIT max_count FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS removed_count = ROW_COUNT;
    RETURN removed_count;
END $$;

CREATE OR REPLACE FUNCTION forget_refused_gifts(age interval, max_count integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    ended_before timestamptz := now() - age;
    gift_ids uuid[];
BEGIN
    IF (ended_before <= now() - interval '1 day') IS NOT TRUE THEN
        RAISE 'what was refused within a day is kept';
    END IF;
    gift_ids := ARRAY(
        SELECT gift_id FROM gift_outcome WHERE NOT delivered AND created_at < ended_before
        ORDER BY created_at LIMIT max_count FOR UPDATE SKIP LOCKED);
    DELETE FROM gift_outcome WHERE gift_id = ANY(gift_ids);
    DELETE FROM gift WHERE gift_id = ANY(gift_ids);
    DELETE FROM saga WHERE saga_id = ANY(gift_ids);
    RETURN cardinality(gift_ids);
END $$;
