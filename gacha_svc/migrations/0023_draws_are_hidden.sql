-- What was drawn cannot be told from a wait.
--
-- A pull that is not committed yet holds the inventory rows of what it drew. A gift of such
-- an item waited, and a gift of another item did not, so players learned what comes next. Now
-- every transaction that changes an inventory first locks its player: pulls alone, gifts together. So a
-- gift waits for a pull of its player, whatever that draws, and a pull waits for no inventory row.

-- What stands for the inventory of a player among advisory locks.
CREATE FUNCTION player_lock(user_id uuid) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN uuid_hash_extended(user_id, 51);

-- Locks a player, and waits a moment for that if need be. Returns whether it did.
CREATE FUNCTION wait_for_player(user_id uuid) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '200ms' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(player_lock(user_id));
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;

DROP FUNCTION lock_draws;
-- Locks the players and rows that are free, and says whether any is missing. A key is wanted once
-- at most. The pities are columns, as record_drawn takes them.
CREATE FUNCTION lock_draws(
    pull_ids uuid[], user_ids uuid[], kinds text[],
    counted_user_ids uuid[], counted_banner_ids text[]
) RETURNS TABLE (
    revision bigint, is_row_missing boolean, done text[], counts json,
    held_user_ids text[], held_kinds text[], seeds text[],
    ultra_rare_counts int[], super_rare_counts int[],
    ultra_rare_guarantees bool[], super_rare_guarantees bool[], rare_guarantees bool[]
)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    held_players    uuid[];
    busy_user_ids   uuid[];
    free_user_ids   uuid[];
    free_banner_ids text[];
BEGIN
    SELECT array_agg(player) INTO held_players FROM unnest(user_ids) AS player
    WHERE pg_try_advisory_xact_lock(player_lock(player));
    IF held_players IS NULL AND cardinality(user_ids) = 1 THEN
        -- Alone it holds up no other pull, and waits in line: gifts that come without a pause
        -- would always be first.
        IF wait_for_player(user_ids[1]) THEN
            held_players := user_ids;
        END IF;
    END IF;
    SELECT array_agg(held.user_id::text), array_agg(held.kind), array_agg(held.seed::text),
        array_agg(held.since_ultra_rare), array_agg(held.since_super_rare),
        array_agg(held.ultra_rare_guaranteed), array_agg(held.super_rare_guaranteed),
        array_agg(held.rare_guaranteed)
    INTO held_user_ids, held_kinds, seeds, ultra_rare_counts, super_rare_counts,
        ultra_rare_guarantees, super_rare_guarantees, rare_guarantees
    FROM (
        SELECT pity.* FROM unnest(user_ids, kinds) AS wanted (user_id, kind)
        JOIN pity ON pity.user_id = wanted.user_id AND pity.kind = wanted.kind
        WHERE wanted.user_id = ANY(held_players)
        ORDER BY pity.user_id, pity.kind FOR UPDATE OF pity SKIP LOCKED
    ) AS held;
    is_row_missing := coalesce(cardinality(held_user_ids), 0) < cardinality(user_ids) AND EXISTS (
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
        WHERE pity.user_id = ANY(counted_user_ids)
          AND (held.kind IS NULL OR pity.user_id <> ALL(coalesce(held_players, '{}')));
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
