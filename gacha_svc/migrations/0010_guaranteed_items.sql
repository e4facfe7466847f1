-- An item tells which guarantee gave it.
--
-- record_drawn takes the place of record_draws. What was recorded before says of no item that a
-- guarantee gave it. Two older functions went out of use with 0005_draws.

DROP FUNCTION record_draws;
DROP FUNCTION record_pulls;
DROP FUNCTION lock_pities;

ALTER TABLE pull_item
    ADD COLUMN featured_guaranteed boolean NOT NULL DEFAULT false,
    ADD COLUMN ten_pull_guaranteed boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT pull_item_guaranteed_is_featured CHECK (featured OR NOT featured_guaranteed),
    ADD CONSTRAINT pull_item_tenth_is_guaranteed
        CHECK (position = 10 AND rarity <> 'rare' OR NOT ten_pull_guaranteed);

-- Columns of four tables: pities as they become, counts as they become (each with its pull),
-- pulls, and the items of the pulls in order. The pities and counts must be locked.
CREATE FUNCTION record_drawn(
    pity_user_ids uuid[], pity_kinds text[], ultra_rare_counts int[], super_rare_counts int[],
    ultra_rare_guarantees bool[], super_rare_guarantees bool[], rare_guarantees bool[],
    counted_user_ids uuid[], counted_banner_ids text[], draw_counts bigint[],
    counted_pull_ids uuid[],
    pull_ids uuid[], user_ids uuid[], banner_ids text[], counts int[], costs bigint[],
    odds_versions text[],
    item_pull_ids uuid[], item_user_ids uuid[], positions int[], item_ids int[], names text[],
    rarities text[], featured bool[], featured_guaranteed bool[], ten_pull_guaranteed bool[],
    item_pities int[]
) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
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
    INSERT INTO pull_item (
        pull_id, position, item_id, name, rarity, featured, featured_guaranteed,
        ten_pull_guaranteed, pity)
    SELECT * FROM unnest(
        item_pull_ids, positions, item_ids, names, rarities, featured, featured_guaranteed,
        ten_pull_guaranteed, item_pities);
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
