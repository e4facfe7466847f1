-- A key has one gift: its intent is its own, and gifts are not numbered by attempts.
--
-- An earlier version made another attempt after a refusal. The last one keeps the intent, which
-- answers the key. The returned ones before it stay as facts, each with its own id as its intent,
-- which no key leads to.
--
-- The column is removed at once, so an instance of an earlier version can begin no gift after this.
-- None runs during an upgrade, and none starts on a schema that is newer than it.

UPDATE gift AS earlier SET intent_id = gift_id
WHERE EXISTS (
    SELECT FROM gift AS later
    WHERE later.intent_id = earlier.intent_id AND later.attempt > earlier.attempt
);
ALTER TABLE gift
    DROP CONSTRAINT gift_attempt_unique,
    DROP COLUMN attempt,
    ADD CONSTRAINT gift_intent_unique UNIQUE (intent_id);
