-- A key has one purchase: its intent is its own, and purchases are not numbered by attempts.
--
-- An earlier version made another attempt after a refusal. The last one keeps the intent, which
-- answers the key. The refused ones before it stay as facts, each with its own id as its intent,
-- which no key leads to.
--
-- The column is removed at once, so an instance of an earlier version can begin no purchase after
-- this. None runs during an upgrade, and none starts on a schema that is newer than it.

UPDATE purchase AS earlier SET intent_id = purchase_id
WHERE EXISTS (
    SELECT FROM purchase AS later
    WHERE later.intent_id = earlier.intent_id AND later.attempt > earlier.attempt
);
ALTER TABLE purchase
    DROP CONSTRAINT purchase_attempt_unique,
    DROP COLUMN attempt,
    ADD CONSTRAINT purchase_intent_unique UNIQUE (intent_id);
