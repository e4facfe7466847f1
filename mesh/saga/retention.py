"""Ended sagas are removed after a time. What became of their work stands with the work itself."""

from datetime import timedelta

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

INDEX = """
CREATE INDEX saga_ended ON saga (updated_at) WHERE due_at IS NULL AND NOT is_parked;
"""
SCHEMA = """
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
"""
"""Runs with its owner's privileges: the role of a service calls it, and cannot delete otherwise."""


def forget_ended_sagas(cursor: Cursor, age: timedelta, max_count: int) -> int:
    """Removes up to `max_count` sagas that ended longer ago than `age`, which is a day at least.
    Returns how many."""
    cursor.execute("SELECT forget_ended_sagas(%s, %s)", (age, max_count))
    (removed_count,) = cursor.fetchone() or (0,)
    return int(removed_count)
