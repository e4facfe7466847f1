-- A player's draws on a banner with a limit are counted while no other pull of that player is
-- under way.
--
-- A prepared pull is in no count yet. Another pull of its banner waited for it by the pity that both
-- needed, unless the catalog had given the banner another kind and a limit in between. That pull then
-- counted up to its own number, which is above that of the prepared one, and nothing counted it.

-- Locks the rows that are free, and says whether any is missing.
CREATE OR REPLACE FUNCTION lock_draws(
    pull_ids uuid[], user_ids uuid[], kinds text[],
    counted_user_ids uuid[], counted_banner_ids text[]
) RETURNS TABLE (revision bigint, pities json, counts json, is_row_missing boolean, done text[],
    seeds json)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    busy_user_ids   uuid[];
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
        -- Each pull under way holds a pity of its player, maybe of the kind that its banner had
        -- before. It is seen by nobody, and counts once it is done. So a count is read only while
        -- all pities of its player are held here.
        WITH held AS (
            SELECT pity.user_id, pity.kind FROM pity WHERE pity.user_id = ANY(counted_user_ids)
            ORDER BY pity.user_id, pity.kind FOR UPDATE SKIP LOCKED
        )
        SELECT array_agg(DISTINCT pity.user_id) INTO busy_user_ids
        FROM pity LEFT JOIN held USING (user_id, kind)
        WHERE pity.user_id = ANY(counted_user_ids) AND held.kind IS NULL;
        SELECT array_agg(held.user_id), array_agg(held.banner_id)
        INTO free_user_ids, free_banner_ids FROM (
            SELECT pull_count.* FROM pull_count
            WHERE (pull_count.user_id, pull_count.banner_id)
                IN (SELECT * FROM unnest(counted_user_ids, counted_banner_ids))
              AND pull_count.user_id <> ALL(coalesce(busy_user_ids, '{}'))
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
