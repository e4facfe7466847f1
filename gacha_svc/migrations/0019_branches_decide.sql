-- A transaction's outcome is that of the branch in this database. A decision is part of the branch,
-- and is here until both branches are committed.

-- A decision that another session has not committed yet would be missed.
LOCK TABLE tx_decision;
DO $$
BEGIN
    IF EXISTS (SELECT FROM tx_decision WHERE outcome = 'commit' AND done_at IS NULL) THEN
        RAISE EXCEPTION 'a transaction is decided and not carried out yet'
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
