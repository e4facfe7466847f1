"""Ended sagas are removed after a time. What became of their work stands with the work itself."""

from datetime import timedelta

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

SCHEMA = """
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
"""


def forget_ended_sagas(cursor: Cursor, age: timedelta, max_count: int) -> int:
    """Removes up to `max_count` sagas that ended longer ago than `age`, which is a day at least.
    Returns how many."""
    cursor.execute("SELECT forget_ended_sagas(%s, %s)", (age, max_count))
    (removed_count,) = cursor.fetchone() or (0,)
    return int(removed_count)
