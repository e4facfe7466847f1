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

-- Removes refused gifts, with their sagas. Their items and fees are back.
CREATE FUNCTION forget_refused_gifts(age interval, max_count integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    gift_ids uuid[];
BEGIN
    ASSERT age >= interval '1 day', 'what was refused within a day is kept';
    gift_ids := ARRAY(
        SELECT gift_id FROM gift_outcome WHERE NOT delivered AND created_at < now() - age
        ORDER BY created_at LIMIT max_count FOR UPDATE SKIP LOCKED);
    DELETE FROM gift_outcome WHERE gift_id = ANY(gift_ids);
    DELETE FROM gift WHERE gift_id = ANY(gift_ids);
    DELETE FROM saga WHERE saga_id = ANY(gift_ids);
    RETURN cardinality(gift_ids);
END $$;
REVOKE EXECUTE ON FUNCTION forget_refused_gifts FROM PUBLIC;
