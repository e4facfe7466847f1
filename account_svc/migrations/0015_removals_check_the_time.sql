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

CREATE OR REPLACE FUNCTION forget_declined_purchases(age interval, max_count integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    ended_before timestamptz := now() - age;
    purchase_ids uuid[];
BEGIN
    IF (ended_before <= now() - interval '1 day') IS NOT TRUE THEN
        RAISE 'what was declined within a day is kept';
    END IF;
    purchase_ids := ARRAY(
        SELECT purchase_id FROM purchase_outcome
        WHERE outcome = 'failed' AND created_at < ended_before
        ORDER BY created_at LIMIT max_count FOR UPDATE SKIP LOCKED);
    DELETE FROM purchase_outcome WHERE purchase_id = ANY(purchase_ids);
    DELETE FROM purchase WHERE purchase_id = ANY(purchase_ids);
    DELETE FROM saga WHERE saga_id = ANY(purchase_ids);
    RETURN cardinality(purchase_ids);
END $$;

CREATE OR REPLACE FUNCTION forget_refused_gift_fees(age interval, max_count integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    ended_before timestamptz := now() - age;
    removed_count integer;
BEGIN
    IF (ended_before <= now() - interval '1 day') IS NOT TRUE THEN
        RAISE 'what was refused within a day is kept';
    END IF;
    DELETE FROM gift_fee WHERE fee_id = ANY(ARRAY(
        SELECT fee_id FROM gift_fee WHERE refusal <> '' AND created_at < ended_before
        ORDER BY created_at LIMIT max_count FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS removed_count = ROW_COUNT;
    RETURN removed_count;
END $$;
