-- The live catalog, the players' pity and inventories, pulls, and the decisions.
--
-- Rows of item and odds are never removed and their keys never change; pull_item and
-- pull point to them without a foreign key, for the share locks that one takes on a
-- popular item's row would gather every pull of the moment on it.
--
-- Fact tables carry the transaction id for readers that copy what is new.

CREATE TABLE catalog_revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL DEFAULT 0
);
INSERT INTO catalog_revision DEFAULT VALUES;

CREATE TABLE item (
    item_id integer PRIMARY KEY CHECK (item_id > 0),
    name    text NOT NULL,
    rarity  text NOT NULL CHECK (rarity IN ('rare', 'super rare', 'ultra rare')),
    -- NULL once it left the catalog; players keep theirs.
    position integer
);

-- Every definition of a banner that was ever in force, by the hash of its content.
CREATE TABLE odds (
    odds_version  text PRIMARY KEY,
    banner_id     text NOT NULL,
    definition    jsonb NOT NULL,
    introduced_at timestamptz NOT NULL DEFAULT now(),
    txid          xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE TABLE banner (
    banner_id    text PRIMARY KEY,
    odds_version text NOT NULL REFERENCES odds (odds_version),
    -- NULL once it left the catalog.
    position     integer
);

CREATE TABLE pity (
    user_id               uuid NOT NULL,
    kind                  text NOT NULL,
    since_ultra_rare      integer NOT NULL CHECK (since_ultra_rare >= 0),
    since_super_rare      integer NOT NULL CHECK (since_super_rare >= 0),
    ultra_rare_guaranteed boolean NOT NULL,
    super_rare_guaranteed boolean NOT NULL,
    rare_guaranteed       boolean NOT NULL,
    PRIMARY KEY (user_id, kind)
) WITH (fillfactor = 80);

CREATE TABLE pull (
    pull_id      uuid PRIMARY KEY,
    number       bigint GENERATED ALWAYS AS IDENTITY,
    user_id      uuid NOT NULL,
    banner_id    text NOT NULL,
    count        integer NOT NULL CHECK (count IN (1, 10)),
    cost         bigint NOT NULL CHECK (cost > 0),
    odds_version text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    txid         xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE UNIQUE INDEX pull_of_user ON pull (user_id, number);

CREATE TABLE pull_item (
    pull_id  uuid NOT NULL REFERENCES pull (pull_id),
    position integer NOT NULL CHECK (position BETWEEN 1 AND 10),
    item_id  integer NOT NULL,
    name     text NOT NULL,
    rarity   text NOT NULL CHECK (rarity IN ('rare', 'super rare', 'ultra rare')),
    featured boolean NOT NULL,
    pity     integer NOT NULL CHECK (pity >= 1),
    txid     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (pull_id, position)
);

CREATE TABLE inventory (
    user_id uuid NOT NULL,
    item_id integer NOT NULL,
    count   bigint NOT NULL CHECK (count > 0),
    PRIMARY KEY (user_id, item_id)
) WITH (fillfactor = 80);

-- The participant of two-phase commits.
CREATE TABLE tx_branch (
    gid        text PRIMARY KEY CHECK (octet_length(gid) < 200),
    aborted    boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tx_branch_created_at ON tx_branch (created_at);

-- The decision log of the coordinator; first_operations are kept until both branches are done.
CREATE TABLE tx_decision (
    gid        text PRIMARY KEY CHECK (octet_length(gid) < 200),
    outcome    text NOT NULL CHECK (outcome IN ('commit', 'abort')),
    decided_at timestamptz NOT NULL DEFAULT now(),
    done_at    timestamptz,
    first_operations bytea CHECK (
        first_operations IS NULL OR (outcome = 'commit' AND done_at IS NULL)
    )
);
-- To press together what is gone in a moment costs more than to write it.
ALTER TABLE tx_decision ALTER first_operations SET STORAGE EXTERNAL;
CREATE INDEX tx_decision_open ON tx_decision (decided_at, gid)
    WHERE outcome = 'commit' AND done_at IS NULL;
CREATE INDEX tx_decision_decided_at ON tx_decision (decided_at);
