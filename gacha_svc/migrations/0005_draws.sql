-- A draw changes rows that exist, and never makes them.
--
-- A row that a branch inserts is invisible until the branch commits. Another pull of that
-- player took its absence for "no pulls yet", and then overwrote it. So the rows are now made
-- and committed before the branch, by make_draw_rows; the branch locks and updates them.
--
-- lock_draws and record_draws take the place of lock_pities and record_pulls, which stay for
-- instances of the version before.

ALTER TABLE pity
    ALTER since_ultra_rare SET DEFAULT 0,
    ALTER since_super_rare SET DEFAULT 0,
    ALTER ultra_rare_guaranteed SET DEFAULT false,
    ALTER super_rare_guaranteed SET DEFAULT false,
    ALTER rare_guaranteed SET DEFAULT false;

-- A player's draws on a banner with a limit: draw_count in the pulls up to the number
-- counted_to. Later pulls, which were made while the banner had no limit, are added on reading.
CREATE TABLE pull_count (
    user_id    uuid NOT NULL,
    banner_id  text NOT NULL,
    draw_count bigint NOT NULL DEFAULT 0 CHECK (draw_count >= 0),
    counted_to bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, banner_id)
) WITH (fillfactor = 80);

CREATE FUNCTION count_draws(counted pull_count) RETURNS bigint
LANGUAGE sql STABLE
RETURN counted.draw_count + (
    SELECT coalesce(sum(pull.count), 0) FROM pull
    WHERE pull.user_id = counted.user_id AND pull.number > counted.counted_to
      AND pull.banner_id = counted.banner_id
)::bigint;

-- Makes what is missing, in one order for all transactions.
CREATE FUNCTION make_draw_rows(
    user_ids uuid[], kinds text[], counted_user_ids uuid[], counted_banner_ids text[]
) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO pity (user_id, kind)
    SELECT wanted.user_id, wanted.kind FROM unnest(user_ids, kinds) AS wanted (user_id, kind)
    ORDER BY wanted.user_id, wanted.kind ON CONFLICT DO NOTHING;
    INSERT INTO pull_count (user_id, banner_id)
    SELECT wanted.user_id, wanted.banner_id
    FROM unnest(counted_user_ids, counted_banner_ids) AS wanted (user_id, banner_id)
    ORDER BY wanted.user_id, wanted.banner_id ON CONFLICT DO NOTHING;
END;

-- Locks the rows that are free, and says whether any is missing.
CREATE FUNCTION lock_draws(
    pull_ids uuid[], user_ids uuid[], kinds text[],
    counted_user_ids uuid[], counted_banner_ids text[]
) RETURNS TABLE (revision bigint, pities json, counts json, is_row_missing boolean, done text[])
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    free_user_ids   uuid[];
    free_banner_ids text[];
BEGIN
    SELECT json_agg(json_build_array(
        held.user_id, held.kind, held.since_ultra_rare, held.since_super_rare,
        held.ultra_rare_guaranteed, held.super_rare_guaranteed, held.rare_guaranteed))
    INTO pities FROM (
        SELECT pity.* FROM pity
        WHERE (pity.user_id, pity.kind) IN (SELECT * FROM unnest(user_ids, kinds))
        ORDER BY pity.user_id, pity.kind FOR UPDATE SKIP LOCKED
    ) AS held;
    is_row_missing := coalesce(json_array_length(pities), 0) < cardinality(user_ids) AND EXISTS (
        SELECT FROM unnest(user_ids, kinds) AS wanted (user_id, kind) WHERE NOT EXISTS (
            SELECT FROM pity WHERE (pity.user_id, pity.kind) = (wanted.user_id, wanted.kind)));
    IF cardinality(counted_user_ids) > 0 THEN
        SELECT array_agg(held.user_id), array_agg(held.banner_id)
        INTO free_user_ids, free_banner_ids FROM (
            SELECT pull_count.* FROM pull_count
            WHERE (pull_count.user_id, pull_count.banner_id)
                IN (SELECT * FROM unnest(counted_user_ids, counted_banner_ids))
            ORDER BY pull_count.user_id, pull_count.banner_id FOR UPDATE SKIP LOCKED
        ) AS held;
        -- After the lock, and with a snapshot of its own: a pull that just committed is counted.
        SELECT json_agg(json_build_array(
            pull_count.user_id, pull_count.banner_id, count_draws(pull_count)))
        INTO counts FROM pull_count
        WHERE (pull_count.user_id, pull_count.banner_id)
            IN (SELECT * FROM unnest(free_user_ids, free_banner_ids));
        is_row_missing := is_row_missing OR EXISTS (
            SELECT FROM unnest(counted_user_ids, counted_banner_ids) AS wanted (user_id, banner_id)
            WHERE NOT EXISTS (
                SELECT FROM pull_count WHERE (pull_count.user_id, pull_count.banner_id)
                                           = (wanted.user_id, wanted.banner_id)));
    END IF;
    -- As above: a pull that just committed is seen. So is a change of the catalog for which
    -- another instance refused this pull after it had seen these locks free.
    SELECT array_agg(pull_id::text) INTO done FROM pull WHERE pull_id = ANY(pull_ids);
    SELECT catalog_revision.revision INTO revision FROM catalog_revision;
    RETURN NEXT;
END $$;

-- Columns of four tables: pities as they become, counts as they become (each with its pull),
-- pulls, and the items of the pulls in order. The pities and counts must be locked.
CREATE FUNCTION record_draws(
    pity_user_ids uuid[], pity_kinds text[], ultra_rare_counts int[], super_rare_counts int[],
    ultra_rare_guarantees bool[], super_rare_guarantees bool[], rare_guarantees bool[],
    counted_user_ids uuid[], counted_banner_ids text[], draw_counts bigint[],
    counted_pull_ids uuid[],
    pull_ids uuid[], user_ids uuid[], banner_ids text[], counts int[], costs bigint[],
    odds_versions text[],
    item_pull_ids uuid[], item_user_ids uuid[], positions int[], item_ids int[], names text[],
    rarities text[], featured bool[], item_pities int[]
) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    changed_count int;
BEGIN
    UPDATE pity SET
        since_ultra_rare = became.since_ultra_rare,
        since_super_rare = became.since_super_rare,
        ultra_rare_guaranteed = became.ultra_rare_guaranteed,
        super_rare_guaranteed = became.super_rare_guaranteed,
        rare_guaranteed = became.rare_guaranteed
    FROM unnest(
        pity_user_ids, pity_kinds, ultra_rare_counts, super_rare_counts,
        ultra_rare_guarantees, super_rare_guarantees, rare_guarantees
    ) AS became (
        user_id, kind, since_ultra_rare, since_super_rare,
        ultra_rare_guaranteed, super_rare_guaranteed, rare_guaranteed)
    WHERE pity.user_id = became.user_id AND pity.kind = became.kind;
    GET DIAGNOSTICS changed_count = ROW_COUNT;
    IF changed_count <> cardinality(pity_user_ids) THEN
        RAISE EXCEPTION 'a pity that was locked is gone'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO pull (pull_id, user_id, banner_id, count, cost, odds_version)
    SELECT * FROM unnest(pull_ids, user_ids, banner_ids, counts, costs, odds_versions);
    INSERT INTO pull_item (pull_id, position, item_id, name, rarity, featured, pity)
    SELECT * FROM unnest(
        item_pull_ids, positions, item_ids, names, rarities, featured, item_pities);
    -- In one order for all transactions. A sum loses nothing where the row is still unseen.
    INSERT INTO inventory
    SELECT gained.user_id, gained.item_id, count(*)
    FROM unnest(item_user_ids, item_ids) AS gained (user_id, item_id)
    GROUP BY gained.user_id, gained.item_id ORDER BY gained.user_id, gained.item_id
    ON CONFLICT ON CONSTRAINT inventory_pkey
    DO UPDATE SET count = inventory.count + excluded.count;
    IF cardinality(counted_user_ids) > 0 THEN
        UPDATE pull_count SET draw_count = became.draw_count, counted_to = pull.number
        FROM unnest(counted_user_ids, counted_banner_ids, draw_counts, counted_pull_ids)
            AS became (user_id, banner_id, draw_count, pull_id)
        JOIN pull ON pull.pull_id = became.pull_id
        WHERE pull_count.user_id = became.user_id AND pull_count.banner_id = became.banner_id;
        GET DIAGNOSTICS changed_count = ROW_COUNT;
        IF changed_count <> cardinality(counted_user_ids) THEN
            RAISE EXCEPTION 'a count that was locked is gone'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
END $$;
