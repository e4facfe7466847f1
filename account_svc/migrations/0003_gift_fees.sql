-- What players pay for sending a gift, asked for by another service.
--
-- What became of a fee first stands, a refusal too, so that a message which comes late,
-- after its sender has been refused and has given up, takes nothing. A fee that was taken
-- and its refund are entries of the ledger: fee_id and refund_id are their operation ids.

ALTER TABLE ledger DROP CONSTRAINT ledger_kind_check, DROP CONSTRAINT ledger_amount_has_its_sign;
ALTER TABLE ledger
    ADD CONSTRAINT ledger_kind_check
        CHECK (kind IN ('purchase', 'pull', 'gift_fee', 'gift_fee_refund')),
    ADD CONSTRAINT ledger_amount_has_its_sign CHECK (
        (kind IN ('purchase', 'gift_fee_refund') AND amount > 0)
        OR (kind IN ('pull', 'gift_fee') AND amount < 0)
    );

-- Without a foreign key to the player, for a fee of nobody is refused and remembered too.
CREATE TABLE gift_fee (
    fee_id     uuid PRIMARY KEY,
    user_id    uuid NOT NULL,
    amount     bigint NOT NULL CHECK (amount BETWEEN 1 AND 1000000000),
    -- The reason why it was never taken and never will be; empty when it was taken.
    refusal    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    txid       xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE TABLE gift_fee_refund (
    fee_id     uuid PRIMARY KEY REFERENCES gift_fee (fee_id),
    refund_id  uuid NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    txid       xid8 NOT NULL DEFAULT pg_current_xact_id()
);
