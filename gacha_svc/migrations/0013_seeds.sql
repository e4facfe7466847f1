-- What a player's next pull of a kind draws is fixed before it begins.
--
-- A seed is drawn by once: a pull that takes effect keeps it, and its pity gets another. A try that
-- fails leaves the pity its seed. Whoever knows a seed cannot draw by it without gacha_svc's key.

ALTER TABLE pity ADD COLUMN seed uuid NOT NULL DEFAULT gen_random_uuid();
-- NULL for pulls from before.
ALTER TABLE pull ADD COLUMN seed uuid;

DROP FUNCTION lock_draws;
-- Locks the rows that are free, and says whether any is missing.
CREATE FUNCTION lock_draws(
    pull_ids uuid[], user_ids uuid[], kinds text[],
    counted_user_ids uuid[], counted_banner_ids text[]
) RETURNS TABLE (revision bigint, pities json, counts json, is_row_missing boolean, done text[],
    seeds json)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    free_user_ids   uuid[];
    free_banner_ids text[];
BEGIN
    SELECT json_agg(json_build_array(
        held.user_id, held.kind, held.since_ultra_rare, held.since_super_rare,
        held.ultra_rare_guaranteed, held.super_rare_guaranteed, held.rare_guaranteed)),
        json_agg(json_build_array(held.user_id, held.kind, held.seed))
    INTO pities, seeds FROM (
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
CREATE OR REPLACE FUNCTION record_drawn(
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
    -- Before the pities, because a pull keeps the seed that it was drawn by. A player has one pull.
    INSERT INTO pull (pull_id, user_id, banner_id, count, cost, odds_version, seed)
    SELECT drawn.*, pity.seed
    FROM unnest(pull_ids, user_ids, banner_ids, counts, costs, odds_versions)
        AS drawn (pull_id, user_id, banner_id, count, cost, odds_version)
    JOIN unnest(pity_user_ids, pity_kinds) AS of_pity (user_id, kind) USING (user_id)
    JOIN pity ON pity.user_id = of_pity.user_id AND pity.kind = of_pity.kind;
    GET DIAGNOSTICS changed_count = ROW_COUNT;
    IF changed_count <> cardinality(pull_ids) THEN
        RAISE EXCEPTION 'a pity that was locked is gone'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    UPDATE pity SET
        seed = gen_random_uuid(),
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
