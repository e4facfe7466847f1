-- Owners of sagas take turns: see mesh/saga/turns.py.
--
-- owner is whose work a saga is: the player's who buys, or the charge's that is followed. It is empty for a saga that an
-- earlier version has begun and that has ended, or begins before the last instance of that version has
-- stopped.

ALTER TABLE saga ADD COLUMN owner text NOT NULL DEFAULT '';
CREATE INDEX saga_under_way ON saga (owner) WHERE due_at IS NOT NULL;

UPDATE saga SET owner = user_id::text FROM purchase
WHERE purchase_id = saga_id AND (due_at IS NOT NULL OR is_parked);
UPDATE saga SET owner = body ->> 'charge_id'
WHERE kind = 'clawback' AND (due_at IS NOT NULL OR is_parked);
