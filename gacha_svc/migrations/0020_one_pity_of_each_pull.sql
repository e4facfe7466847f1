-- A draw reads and writes each pull with its pity, column by column.
--
-- The pulls and the pities of a batch were two lists, which record_drawn joined pair by pair: 50
-- pulls cost 2,500 comparisons. A player has one pull in a batch, so each pull now comes with its
-- pity. The seed comes from who drew by it, and the pity must still have it.

DROP FUNCTION record_drawn;
-- Columns of three tables: pulls, each with its seed and the pity that it leaves; their items in
-- order, each with the number of its pull in the columns of pulls, from 1; and counts as they become,
-- each with its pull. The pities and counts must be locked.
CREATE FUNCTION record_drawn(
    pull_ids uuid[], user_ids uuid[], kinds text[], banner_ids text[], counts int[], costs bigint[],
    odds_versions text[], seeds uuid[],
    ultra_rare_counts int[], super_rare_counts int[],
    ultra_rare_guarantees bool[], super_rare_guarantees bool[], rare_guarantees bool[],
    item_pulls int[], positions int[], item_ids int[], names text[], rarities text[],
    featured bool[], featured_guaranteed bool[], ten_pull_guaranteed bool[], item_pities int[],
    counted_user_ids uuid[], counted_banner_ids text[], draw_counts bigint[],
    counted_pull_ids uuid[]
) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    changed_count int;
BEGIN
    INSERT INTO pull (pull_id, user_id, banner_id, count, cost, odds_version, seed)
    SELECT * FROM unnest(pull_ids, user_ids, banner_ids, counts, costs, odds_versions, seeds);
    UPDATE pity SET
        seed = gen_random_uuid(),
        since_ultra_rare = became.since_ultra_rare,
        since_super_rare = became.since_super_rare,
        ultra_rare_guaranteed = became.ultra_rare_guaranteed,
        super_rare_guaranteed = became.super_rare_guaranteed,
        rare_guaranteed = became.rare_guaranteed
    FROM unnest(
        user_ids, kinds, seeds, ultra_rare_counts, super_rare_counts,
        ultra_rare_guarantees, super_rare_guarantees, rare_guarantees
    ) AS became (
        user_id, kind, seed, since_ultra_rare, since_super_rare,
        ultra_rare_guaranteed, super_rare_guaranteed, rare_guaranteed)
    -- A pull keeps the seed that it was drawn by, so that must be the seed of its pity.
    WHERE pity.user_id = became.user_id AND pity.kind = became.kind AND pity.seed = became.seed;
    GET DIAGNOSTICS changed_count = ROW_COUNT;
    IF changed_count <> cardinality(pull_ids) THEN
        RAISE EXCEPTION 'a pity that was locked is gone, or has another seed'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO pull_item (
        pull_id, position, item_id, name, rarity, featured, featured_guaranteed,
        ten_pull_guaranteed, pity)
    SELECT pull_ids[item.pull], item.position, item.item_id, item.name, item.rarity,
        item.featured, item.featured_guaranteed, item.ten_pull_guaranteed, item.pity
    FROM unnest(
        item_pulls, positions, item_ids, names, rarities, featured, featured_guaranteed,
        ten_pull_guaranteed, item_pities
    ) AS item (
        pull, position, item_id, name, rarity, featured, featured_guaranteed,
        ten_pull_guaranteed, pity);
    -- In one order for all transactions. A sum loses nothing where the row is still unseen.
    INSERT INTO inventory
    SELECT user_ids[gained.pull], gained.item_id, count(*)
    FROM unnest(item_pulls, item_ids) AS gained (pull, item_id)
    GROUP BY 1, 2 ORDER BY 1, 2
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
