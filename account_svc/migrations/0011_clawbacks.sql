-- Gems taken back when the payment provider gives a purchase's money back, or it is disputed.
--
-- A wallet that holds less than is taken back owes the rest, its debt. A balance and a debt are
-- never both above zero, so the ledger stays one chain for each player: of balance minus debt,
-- the net. An entry's amount is added to the net, and so the next credit pays the debt first.
-- take_gems needs no change: a wallet that owes holds nothing that it could take.

ALTER TABLE wallet
    DROP CONSTRAINT wallet_matches_its_ledger,
    DROP CONSTRAINT wallet_starts_at_zero,
    ADD COLUMN debt bigint NOT NULL DEFAULT 0 CHECK (debt BETWEEN 0 AND 9007199254740991),
    ADD COLUMN net bigint GENERATED ALWAYS AS (balance - debt) STORED,
    ADD CONSTRAINT wallet_owes_only_when_empty CHECK (balance = 0 OR debt = 0),
    ADD CONSTRAINT wallet_starts_at_zero CHECK (entry_count > 0 OR (balance = 0 AND debt = 0));

ALTER TABLE ledger
    DROP CONSTRAINT ledger_follows_its_previous,
    DROP CONSTRAINT ledger_user_id_number_balance_after_key,
    DROP CONSTRAINT ledger_starts_at_zero,
    DROP CONSTRAINT ledger_kind_check,
    DROP CONSTRAINT ledger_amount_has_its_sign,
    DROP COLUMN balance_before;

ALTER TABLE ledger
    ADD COLUMN debt_after bigint NOT NULL DEFAULT 0
        CHECK (debt_after BETWEEN 0 AND 9007199254740991),
    ADD COLUMN net_after bigint GENERATED ALWAYS AS (balance_after - debt_after) STORED,
    ADD COLUMN net_before bigint GENERATED ALWAYS AS (balance_after - debt_after - amount) STORED,
    ADD CONSTRAINT ledger_owes_only_when_empty CHECK (balance_after = 0 OR debt_after = 0),
    ADD CONSTRAINT ledger_starts_at_zero CHECK (number > 1 OR balance_after - debt_after = amount),
    ADD CONSTRAINT ledger_kind_check CHECK (kind IN (
        'purchase', 'pull', 'gift_fee', 'gift_fee_refund',
        'refund', 'refund_failed', 'dispute', 'dispute_won'
    )),
    ADD CONSTRAINT ledger_amount_has_its_sign CHECK (
        (kind IN ('purchase', 'gift_fee_refund', 'refund_failed', 'dispute_won') AND amount > 0)
        OR (kind IN ('pull', 'gift_fee', 'refund', 'dispute') AND amount < 0)
    ),
    ADD CONSTRAINT ledger_spends_no_debt
        CHECK (debt_after = 0 OR kind NOT IN ('pull', 'gift_fee')),
    ADD CONSTRAINT ledger_net_unique UNIQUE (user_id, number, net_after);

ALTER TABLE ledger
    ADD CONSTRAINT ledger_follows_its_previous FOREIGN KEY (user_id, previous, net_before)
        REFERENCES ledger (user_id, number, net_after);
ALTER TABLE wallet
    ADD CONSTRAINT wallet_matches_its_ledger FOREIGN KEY (user_id, newest, net)
        REFERENCES ledger (user_id, number, net_after);

-- A refund or a dispute of a credited purchase, by the provider's id, and what became of it.
CREATE TABLE clawback (
    -- Also the operation id of the ledger entry that took the gems, unless they were none.
    clawback_id  uuid PRIMARY KEY,
    purchase_id  uuid NOT NULL REFERENCES purchase_outcome (purchase_id),
    kind         text NOT NULL CHECK (kind IN ('refund', 'dispute')),
    -- The provider's ids of the refund or dispute, and of its charge.
    reversal_id  text NOT NULL CHECK (reversal_id <> ''),
    charge_id    text NOT NULL CHECK (charge_id <> ''),
    -- In the smallest unit of the purchase's currency.
    amount_minor bigint NOT NULL CHECK (amount_minor BETWEEN 1 AND 1000000000000),
    state        text NOT NULL CHECK (state IN ('pending', 'settled', 'undone')),
    taken        bigint NOT NULL CHECK (taken >= 0),
    -- The operation id of the ledger entry that gave gems back, unless they were none.
    return_id    uuid NOT NULL UNIQUE,
    returned     bigint NOT NULL DEFAULT 0 CHECK (returned >= 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    txid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT clawback_reversal_unique UNIQUE (kind, reversal_id),
    CONSTRAINT clawback_returns_only_what_is_undone CHECK (state = 'undone' OR returned = 0)
);
CREATE INDEX clawback_of_purchase ON clawback (purchase_id);
CREATE INDEX clawback_pending ON clawback (updated_at) WHERE state = 'pending';

-- What was taken back for a purchase by all of its refunds and disputes that stand: in
-- proportion to the money, rounded down, and never more than was bought.
CREATE TABLE clawback_total (
    purchase_id      uuid PRIMARY KEY REFERENCES purchase_outcome (purchase_id),
    amount           bigint NOT NULL CHECK (amount >= 1),
    price_minor      bigint NOT NULL CHECK (price_minor >= 1),
    given_back_minor bigint NOT NULL CHECK (given_back_minor >= 0),
    taken            bigint NOT NULL,
    CONSTRAINT clawback_total_is_proportional CHECK (
        taken = div(amount::numeric * least(given_back_minor, price_minor), price_minor)
    )
);

CREATE FUNCTION require_credited_purchase() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM purchase JOIN purchase_outcome USING (purchase_id)
        WHERE purchase_id = NEW.purchase_id AND outcome = 'credited'
          AND amount = NEW.amount AND price_minor = NEW.price_minor
    ) THEN
        RAISE EXCEPTION '%: no purchase was credited like that', TG_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER clawback_total_is_of_a_credited_purchase BEFORE INSERT OR UPDATE ON clawback_total
    FOR EACH ROW EXECUTE FUNCTION require_credited_purchase();

-- Comparisons with the provider: each is begun by one instance, and read by all.
CREATE TABLE reconciliation (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    -- The number of differences by kind, once it has ended.
    counts     jsonb,
    CONSTRAINT reconciliation_counts_when_it_ends CHECK ((ended_at IS NULL) = (counts IS NULL))
);
