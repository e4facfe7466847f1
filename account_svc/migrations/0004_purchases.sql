-- Purchases of gems from an outside payment provider.
--
-- purchase says what was asked and purchase_outcome how it ended, each written once; where
-- a purchase under way stands is its saga's to say. A purchase that took no money, or gave
-- it back, may be tried again by the same request, as its next attempt.

CREATE TABLE purchase (
    -- Also the id of its saga, the provider's key, and the operation id of its ledger entry.
    purchase_id    uuid PRIMARY KEY,
    number         bigint GENERATED ALWAYS AS IDENTITY,
    request_id     uuid NOT NULL,
    attempt        integer NOT NULL CHECK (attempt >= 1),
    user_id        uuid NOT NULL REFERENCES player (user_id),
    amount         bigint NOT NULL CHECK (amount BETWEEN 1 AND 1000000000),
    -- In the smallest unit of the currency (ISO 4217).
    price_minor    bigint NOT NULL CHECK (price_minor BETWEEN 1 AND 1000000000000),
    currency       text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    payment_method text NOT NULL CHECK (char_length(payment_method) BETWEEN 1 AND 64),
    provider       text NOT NULL CHECK (provider <> ''),
    created_at     timestamptz NOT NULL DEFAULT now(),
    txid           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT purchase_attempt_unique UNIQUE (request_id, attempt)
);
CREATE UNIQUE INDEX purchase_of_user ON purchase (user_id, number);

CREATE TABLE purchase_outcome (
    purchase_id uuid PRIMARY KEY REFERENCES purchase (purchase_id),
    outcome     text NOT NULL CHECK (outcome IN ('credited', 'failed', 'refunded')),
    -- Why it was not credited.
    reason      text NOT NULL CHECK ((reason = '') = (outcome = 'credited')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    txid        xid8 NOT NULL DEFAULT pg_current_xact_id()
);

-- Work in several steps: the purchases.
CREATE TABLE saga (
    saga_id       uuid PRIMARY KEY,
    kind          text NOT NULL,
    state         text NOT NULL,
    body          jsonb NOT NULL,
    attempt_count integer NOT NULL DEFAULT 0 CHECK (attempt_count >= 0),
    reason        text NOT NULL DEFAULT '',
    lease         text NOT NULL DEFAULT '',
    due_at        timestamptz,
    is_parked     boolean NOT NULL DEFAULT false,
    is_woken      boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    txid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT saga_parked_is_not_due CHECK (NOT is_parked OR due_at IS NULL)
);
CREATE INDEX saga_due ON saga (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX saga_parked ON saga (updated_at) WHERE is_parked;
