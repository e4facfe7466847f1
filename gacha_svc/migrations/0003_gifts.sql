-- Gifts, which move an item from one player's inventory to another's for a fee.
--
-- gift says what was asked and gift_outcome how it ended, each written once; where a gift
-- under way stands is its saga's to say. While it is under way its items are in nobody's
-- inventory. A gift that was returned may be sent again by the same request, as its next
-- attempt.

CREATE TABLE gift (
    gift_id       uuid PRIMARY KEY,
    number        bigint GENERATED ALWAYS AS IDENTITY,
    request_id    uuid NOT NULL,
    attempt       integer NOT NULL CHECK (attempt >= 1),
    sender_id     uuid NOT NULL,
    sender_name   text NOT NULL,
    receiver_id   uuid NOT NULL,
    receiver_name text NOT NULL,
    item_id       integer NOT NULL,
    count         integer NOT NULL CHECK (count BETWEEN 1 AND 100),
    fee           bigint NOT NULL CHECK (fee BETWEEN 1 AND 1000000000),
    created_at    timestamptz NOT NULL DEFAULT now(),
    txid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT gift_attempt_unique UNIQUE (request_id, attempt),
    CONSTRAINT gift_is_for_somebody_else CHECK (sender_id <> receiver_id)
);
CREATE UNIQUE INDEX gift_of_sender ON gift (sender_id, number);
CREATE UNIQUE INDEX gift_of_receiver ON gift (receiver_id, number);

CREATE TABLE gift_outcome (
    gift_id    uuid PRIMARY KEY REFERENCES gift (gift_id),
    delivered  boolean NOT NULL,
    -- Why it was returned.
    reason     text NOT NULL CHECK ((reason = '') = delivered),
    created_at timestamptz NOT NULL DEFAULT now(),
    txid       xid8 NOT NULL DEFAULT pg_current_xact_id()
);

-- What JSON holds exactly; far above what anybody can pull.
ALTER TABLE inventory ADD CONSTRAINT inventory_count_is_exact CHECK (count <= 9007199254740991);

-- Work in several steps: the gifts.
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
