-- What a banner is drawn by, apart from what it is called and costs, and the history of both.
--
-- odds keeps what is drawn by, under the hash of that alone, and offer the rest. So a corrected
-- name or another price leaves the version of the odds as it is. Both change only together with
-- a row of banner_history.

ALTER TABLE banner ADD COLUMN offer jsonb;
UPDATE banner SET offer = definition - '{kind,ten_pull_guarantee,rules}'::text[]
FROM odds WHERE odds.odds_version = banner.odds_version;
ALTER TABLE banner ALTER COLUMN offer SET NOT NULL;

-- From `since` to the next row of its banner, a banner was drawn by these odds and offered so.
-- Without odds it was not in the catalog. Revisions order the rows; times never go back.
CREATE TABLE banner_history (
    banner_id    text NOT NULL,
    revision     bigint NOT NULL,
    odds_version text REFERENCES odds (odds_version),
    offer        jsonb CHECK ((offer IS NULL) = (odds_version IS NULL)),
    since        timestamptz NOT NULL,
    txid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (banner_id, revision)
);

-- What is known of the time before: when each definition was first in force. Each came with a
-- revision of its own, so the numbers are not above the revision now.
INSERT INTO banner_history (banner_id, revision, odds_version, offer, since)
SELECT banner_id,
       row_number() OVER (PARTITION BY banner_id ORDER BY introduced_at, odds_version),
       odds_version, definition - '{kind,ten_pull_guarantee,rules}'::text[], introduced_at
FROM odds;

UPDATE odds SET definition =
    definition - '{id,name,description,price_gems,pull_counts,pull_limit}'::text[];
ALTER TABLE odds DROP COLUMN banner_id;

CREATE FUNCTION refuse_change_of_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: % rows are only added', TG_NAME, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER odds_are_only_added_to BEFORE UPDATE OR DELETE ON odds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history();
CREATE TRIGGER banner_history_is_only_added_to BEFORE UPDATE OR DELETE ON banner_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_history();

-- Adds a row for each banner that is not what its last row says.
CREATE FUNCTION record_banners(new_revision bigint) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO banner_history (banner_id, revision, odds_version, offer, since)
    SELECT in_force.banner_id, new_revision, in_force.odds_version, in_force.offer,
           greatest(clock_timestamp(), last.since)
    FROM (
        SELECT banner_id,
               CASE WHEN position IS NOT NULL THEN odds_version END AS odds_version,
               CASE WHEN position IS NOT NULL THEN offer END AS offer
        FROM banner
    ) AS in_force
    LEFT JOIN LATERAL (
        SELECT * FROM banner_history WHERE banner_history.banner_id = in_force.banner_id
        ORDER BY revision DESC LIMIT 1
    ) AS last ON true
    WHERE (in_force.odds_version, in_force.offer)
        IS DISTINCT FROM (last.odds_version, last.offer);
END;
