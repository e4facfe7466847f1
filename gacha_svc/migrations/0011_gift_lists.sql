-- What a receiver's list needs stands in the outcomes, so that it is read from what was delivered
-- and by index, however many gifts to that player were refused.

CREATE UNIQUE INDEX gift_players ON gift (gift_id, sender_id, receiver_id, number);
ALTER TABLE gift_outcome ADD COLUMN sender_id uuid, ADD COLUMN receiver_id uuid,
    ADD COLUMN number bigint;
UPDATE gift_outcome SET sender_id = gift.sender_id, receiver_id = gift.receiver_id,
    number = gift.number
FROM gift WHERE gift.gift_id = gift_outcome.gift_id;
ALTER TABLE gift_outcome
    ALTER sender_id SET NOT NULL, ALTER receiver_id SET NOT NULL, ALTER number SET NOT NULL,
    DROP CONSTRAINT gift_outcome_gift_id_fkey,
    ADD CONSTRAINT gift_outcome_is_of_its_gift
        FOREIGN KEY (gift_id, sender_id, receiver_id, number)
        REFERENCES gift (gift_id, sender_id, receiver_id, number);
DROP INDEX gift_of_receiver;
CREATE UNIQUE INDEX gift_outcome_of_receiver ON gift_outcome (receiver_id, number) WHERE delivered;

-- Refused gifts: how many a sender had lately, and which are old.
CREATE INDEX gift_outcome_refused_of_sender ON gift_outcome (sender_id, created_at)
    WHERE NOT delivered;
CREATE INDEX gift_outcome_refused ON gift_outcome (created_at) WHERE NOT delivered;
