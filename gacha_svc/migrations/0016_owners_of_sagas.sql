-- Owners of sagas take turns: see mesh/saga/turns.py.
--
-- owner is whose work a saga is: the sender's of a gift. It is empty for a saga that an
-- earlier version has begun and that has ended, or begins before the last instance of that version has
-- stopped.

ALTER TABLE saga ADD COLUMN owner text NOT NULL DEFAULT '';
CREATE INDEX saga_under_way ON saga (owner) WHERE due_at IS NOT NULL;

UPDATE saga SET owner = sender_id::text FROM gift
WHERE gift_id = saga_id AND (due_at IS NOT NULL OR is_parked);
