-- A comparison reads one day at a time, by time, however long the history is.
CREATE INDEX ledger_of_purchases ON ledger (created_at)
    WHERE kind IN ('purchase', 'refund', 'refund_failed', 'dispute', 'dispute_won');
CREATE INDEX purchase_created ON purchase (created_at, number);
CREATE INDEX purchase_outcome_credited ON purchase_outcome (created_at) WHERE outcome = 'credited';
CREATE INDEX clawback_taken ON clawback (created_at) WHERE taken > 0;
CREATE INDEX clawback_returned ON clawback (updated_at) WHERE returned > 0;

DROP INDEX clawback_pending;
CREATE INDEX clawback_pending ON clawback (clawback_id) WHERE state = 'pending';
