-- Players, wallets and the ledger.
--
-- The ledger is a chain for each player: an entry names the balance that the one
-- before it left, and a wallet names its newest entry. Entries are only ever added,
-- and a wallet moves by one entry at a time, in the statement that adds it. So a
-- balance that is not the sum of its entries cannot be stored, whoever writes it. An entry
-- needs its wallet, which needs its player, so it has no foreign key to that.
--
-- Fact tables carry the transaction id for readers that copy what is new.

CREATE TABLE player (
    user_id          uuid PRIMARY KEY,
    username         text NOT NULL CHECK (char_length(username) BETWEEN 3 AND 64),
    username_key     text NOT NULL CONSTRAINT player_username_unique UNIQUE,
    email            text NOT NULL CHECK (char_length(email) BETWEEN 1 AND 254),
    email_key        text NOT NULL CONSTRAINT player_email_unique UNIQUE,
    password_hash    text NOT NULL,
    registration_id  uuid NOT NULL CONSTRAINT player_registration_unique UNIQUE,
    created_at       timestamptz NOT NULL DEFAULT now(),
    txid             xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE TABLE ledger (
    user_id        uuid NOT NULL,
    number         integer NOT NULL CHECK (number >= 1),
    operation_id   uuid NOT NULL CONSTRAINT ledger_operation_unique UNIQUE,
    kind           text NOT NULL CHECK (kind IN ('purchase', 'pull')),
    amount         bigint NOT NULL,
    balance_after  bigint NOT NULL CHECK (balance_after BETWEEN 0 AND 9007199254740991),
    created_at     timestamptz NOT NULL DEFAULT now(),
    txid           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    previous       integer GENERATED ALWAYS AS (nullif(number - 1, 0)) STORED,
    balance_before bigint GENERATED ALWAYS AS (balance_after - amount) STORED,
    PRIMARY KEY (user_id, number),
    UNIQUE (user_id, number, balance_after),
    CONSTRAINT ledger_starts_at_zero CHECK (number > 1 OR balance_after = amount),
    CONSTRAINT ledger_amount_has_its_sign CHECK (
        (kind = 'purchase' AND amount > 0) OR (kind = 'pull' AND amount < 0)
    ),
    CONSTRAINT ledger_follows_its_previous FOREIGN KEY (user_id, previous, balance_before)
        REFERENCES ledger (user_id, number, balance_after)
);

CREATE TABLE wallet (
    user_id     uuid PRIMARY KEY REFERENCES player (user_id),
    balance     bigint NOT NULL DEFAULT 0 CHECK (balance BETWEEN 0 AND 9007199254740991),
    entry_count integer NOT NULL DEFAULT 0 CHECK (entry_count >= 0),
    newest      integer GENERATED ALWAYS AS (nullif(entry_count, 0)) STORED,
    CONSTRAINT wallet_starts_at_zero CHECK (entry_count > 0 OR balance = 0),
    CONSTRAINT wallet_matches_its_ledger FOREIGN KEY (user_id, newest, balance)
        REFERENCES ledger (user_id, number, balance_after)
) WITH (fillfactor = 80);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: this change would part a balance from its ledger', TG_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER ledger_is_only_added_to BEFORE UPDATE OR DELETE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER wallet_moves_by_one_entry BEFORE UPDATE ON wallet FOR EACH ROW
    WHEN (NEW.user_id <> OLD.user_id OR NEW.entry_count <> OLD.entry_count + 1)
    EXECUTE FUNCTION refuse_change();

CREATE TRIGGER wallet_stays BEFORE DELETE ON wallet
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION require_wallets_to_have_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM added LEFT JOIN wallet USING (user_id)
        WHERE wallet.entry_count IS NULL OR wallet.entry_count < added.number
    ) THEN
        RAISE EXCEPTION '%: an entry needs its wallet to move in the same statement', TG_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_moves_its_wallet AFTER INSERT ON ledger REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION require_wallets_to_have_moved();

-- The participant of two-phase commits.
CREATE TABLE tx_branch (
    gid        text PRIMARY KEY CHECK (octet_length(gid) < 200),
    aborted    boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tx_branch_created_at ON tx_branch (created_at);
