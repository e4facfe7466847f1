-- Makes only the rows that do not exist.
--
-- An insert of a row that a prepared branch has changed waits for that branch, although the row is
-- there. So a player's first pull, which makes its rows with those of its batch, failed with its
-- whole batch as long as one of its neighbours was held back.

CREATE OR REPLACE FUNCTION make_draw_rows(
    user_ids uuid[], kinds text[], counted_user_ids uuid[], counted_banner_ids text[]
) RETURNS void
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO pity (user_id, kind)
    SELECT wanted.user_id, wanted.kind FROM unnest(user_ids, kinds) AS wanted (user_id, kind)
    WHERE NOT EXISTS (
        SELECT FROM pity WHERE (pity.user_id, pity.kind) = (wanted.user_id, wanted.kind))
    ORDER BY wanted.user_id, wanted.kind ON CONFLICT DO NOTHING;
    INSERT INTO pull_count (user_id, banner_id)
    SELECT wanted.user_id, wanted.banner_id
    FROM unnest(counted_user_ids, counted_banner_ids) AS wanted (user_id, banner_id)
    WHERE NOT EXISTS (
        SELECT FROM pull_count WHERE (pull_count.user_id, pull_count.banner_id)
            = (wanted.user_id, wanted.banner_id))
    ORDER BY wanted.user_id, wanted.banner_id ON CONFLICT DO NOTHING;
END;
