-- Ended sagas are removed after a time; what became of the work stands elsewhere. Nobody else
-- removes sagas: this runs with its owner's privileges, and refuses to remove what is recent.
CREATE INDEX saga_ended ON saga (updated_at) WHERE due_at IS NULL AND NOT is_parked;
CREATE FUNCTION forget_ended_sagas(age interval, max_count integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    removed_count integer;
BEGIN
    ASSERT age >= interval '1 day', 'what ended within a day is kept';
    DELETE FROM saga WHERE saga_id = ANY(ARRAY(
        SELECT saga_id FROM saga
        WHERE due_at IS NULL AND NOT is_parked AND updated_at < now() - age
        ORDER BY updated_at LIMIT max_count FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS removed_count = ROW_COUNT;
    RETURN removed_count;
END $$;
REVOKE EXECUTE ON FUNCTION forget_ended_sagas FROM PUBLIC;

-- Removes purchases that were declined, for which no money was kept, with their sagas.
CREATE INDEX purchase_outcome_failed ON purchase_outcome (created_at) WHERE outcome = 'failed';
CREATE FUNCTION forget_declined_purchases(age interval, max_count integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    purchase_ids uuid[];
BEGIN
    ASSERT age >= interval '1 day', 'what was declined within a day is kept';
    purchase_ids := ARRAY(
        SELECT purchase_id FROM purchase_outcome
        WHERE outcome = 'failed' AND created_at < now() - age
        ORDER BY created_at LIMIT max_count FOR UPDATE SKIP LOCKED);
    DELETE FROM purchase_outcome WHERE purchase_id = ANY(purchase_ids);
    DELETE FROM purchase WHERE purchase_id = ANY(purchase_ids);
    DELETE FROM saga WHERE saga_id = ANY(purchase_ids);
    RETURN cardinality(purchase_ids);
END $$;
REVOKE EXECUTE ON FUNCTION forget_declined_purchases FROM PUBLIC;

-- Removes fees that were never taken. A charge that comes so much later has no caller left.
CREATE INDEX gift_fee_refused ON gift_fee (created_at) WHERE refusal <> '';
CREATE FUNCTION forget_refused_gift_fees(age interval, max_count integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    removed_count integer;
BEGIN
    ASSERT age >= interval '1 day', 'what was refused within a day is kept';
    DELETE FROM gift_fee WHERE fee_id = ANY(ARRAY(
        SELECT fee_id FROM gift_fee WHERE refusal <> '' AND created_at < now() - age
        ORDER BY created_at LIMIT max_count FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS removed_count = ROW_COUNT;
    RETURN removed_count;
END $$;
REVOKE EXECUTE ON FUNCTION forget_refused_gift_fees FROM PUBLIC;
