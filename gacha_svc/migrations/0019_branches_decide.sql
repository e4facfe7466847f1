-- A transaction's outcome is that of the branch in this database. A decision is part of the branch,
-- and is here until both branches are committed.

-- A decision that another session has not committed yet would be missed.
LOCK TABLE tx_decision;
-- Instances that were stopped leave decisions that they had carried out and not yet marked. Those whose
-- branch here is committed stay open; recovery finishes them.
CREATE TEMPORARY TABLE carried_over ON COMMIT DROP AS
    SELECT gid, decided_at, first_operations FROM tx_decision
    WHERE outcome = 'commit' AND done_at IS NULL;
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM carried_over LEFT JOIN tx_branch USING (gid)
        WHERE aborted IS DISTINCT FROM false OR first_operations IS NULL
    ) THEN
        RAISE EXCEPTION 'a transaction is decided and its branch is not committed yet'
            USING HINT = 'Let the present version run until `make tx` lists none, then try again.';
    END IF;
END $$;
DROP TABLE tx_decision;
CREATE TABLE tx_decision (
    gid              text PRIMARY KEY,
    decided_at       timestamptz NOT NULL DEFAULT now(),
    first_operations bytea NOT NULL
);
-- To press together what is gone in a moment costs more than to write it.
ALTER TABLE tx_decision ALTER first_operations SET STORAGE EXTERNAL;
CREATE INDEX tx_decision_decided_at ON tx_decision (decided_at, gid);
INSERT INTO tx_decision SELECT gid, decided_at, first_operations FROM carried_over;
