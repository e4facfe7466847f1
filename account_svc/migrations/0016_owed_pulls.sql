-- A pull whose debit this database has lost after the pull was decided is debited again. What the
-- wallet no longer holds is owed.

ALTER TABLE ledger
    DROP CONSTRAINT ledger_kind_check,
    DROP CONSTRAINT ledger_amount_has_its_sign,
    ADD CONSTRAINT ledger_kind_check CHECK (kind IN (
        'purchase', 'pull', 'owed_pull', 'gift_fee', 'gift_fee_refund',
        'refund', 'refund_failed', 'dispute', 'dispute_won'
    )),
    ADD CONSTRAINT ledger_amount_has_its_sign CHECK (
        (kind IN ('purchase', 'gift_fee_refund', 'refund_failed', 'dispute_won') AND amount > 0)
        OR (kind IN ('pull', 'owed_pull', 'gift_fee', 'refund', 'dispute') AND amount < 0)
    );
