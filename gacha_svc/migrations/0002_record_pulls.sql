-- The gacha's part of a batch of pulls, in two round trips and with plans that are kept.
--
-- What is drawn is decided between the two, outside the database. Plans are made while
-- the tables may still be small, so that they must not scan them.

CREATE FUNCTION lock_pities(pull_ids uuid[], user_ids uuid[], kinds text[])
RETURNS TABLE (revision bigint, pities json, done text[])
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    SELECT catalog_revision.revision INTO revision FROM catalog_revision;
    SELECT json_agg(json_build_array(
        held.user_id, held.kind, held.since_ultra_rare, held.since_super_rare,
        held.ultra_rare_guaranteed, held.super_rare_guaranteed, held.rare_guaranteed))
    INTO pities FROM (
        SELECT pity.* FROM pity
        WHERE (pity.user_id, pity.kind) IN (SELECT * FROM unnest(user_ids, kinds))
        ORDER BY pity.user_id, pity.kind FOR UPDATE SKIP LOCKED
    ) AS held;
    -- After the lock, and with a snapshot of its own: a pull that just committed is seen.
    SELECT array_agg(pull_id::text) INTO done FROM pull WHERE pull_id = ANY(pull_ids);
    RETURN NEXT;
END $$;

-- Columns of three tables: pities as they become, pulls, and the items of the pulls in order.
CREATE FUNCTION record_pulls(
    pity_user_ids uuid[], pity_kinds text[], since_ultra_rare int[], since_super_rare int[],
    ultra_rare_guaranteed bool[], super_rare_guaranteed bool[], rare_guaranteed bool[],
    pull_ids uuid[], user_ids uuid[], banner_ids text[], counts int[], costs bigint[],
    odds_versions text[],
    item_pull_ids uuid[], item_user_ids uuid[], positions int[], item_ids int[], names text[],
    rarities text[], featured bool[], item_pities int[]
) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    INSERT INTO pity SELECT * FROM unnest(
        pity_user_ids, pity_kinds, since_ultra_rare, since_super_rare,
        ultra_rare_guaranteed, super_rare_guaranteed, rare_guaranteed)
    ON CONFLICT ON CONSTRAINT pity_pkey DO UPDATE SET
        since_ultra_rare = excluded.since_ultra_rare,
        since_super_rare = excluded.since_super_rare,
        ultra_rare_guaranteed = excluded.ultra_rare_guaranteed,
        super_rare_guaranteed = excluded.super_rare_guaranteed,
        rare_guaranteed = excluded.rare_guaranteed;
    INSERT INTO pull (pull_id, user_id, banner_id, count, cost, odds_version)
    SELECT * FROM unnest(pull_ids, user_ids, banner_ids, counts, costs, odds_versions);
    INSERT INTO pull_item (pull_id, position, item_id, name, rarity, featured, pity)
    SELECT * FROM unnest(
        item_pull_ids, positions, item_ids, names, rarities, featured, item_pities);
    -- In one order for all transactions.
    INSERT INTO inventory
    SELECT gained.user_id, gained.item_id, count(*)
    FROM unnest(item_user_ids, item_ids) AS gained (user_id, item_id)
    GROUP BY gained.user_id, gained.item_id ORDER BY gained.user_id, gained.item_id
    ON CONFLICT ON CONSTRAINT inventory_pkey
    DO UPDATE SET count = inventory.count + excluded.count;
END $$;
