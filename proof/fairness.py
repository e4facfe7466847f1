"""What every player was promised of the draws, as checks over the gacha database.

Each recomputes from the items that were drawn, by the definitions of the banners at the time.
A check is a statement that returns the rows that break it.
"""

SIGMAS, FEW = 6, 3
"""What is seen may differ from what is expected by so many standard deviations, and so many more
where both are few. Fair draws pass these bounds about once in a thousand million checks."""


def _rule(index: int) -> str:
    """The numbers of one rule of `odds`, in parts per million."""
    return f"""
        LATERAL (SELECT
            (definition #>> '{{rules,{index},base_rate_ppm}}')::numeric AS base,
            (definition #>> '{{rules,{index},hard_pity}}')::int AS hard,
            (definition #>> '{{rules,{index},soft_pity,from_pull}}')::int AS soft_from,
            (definition #>> '{{rules,{index},soft_pity,step_ppm}}')::numeric AS step)"""


def _rate(rule: str, pull: str) -> str:
    """A rarity's rate from 0 to 1, at that pull since the last of it or above."""
    return f"""
        CASE WHEN {pull} >= {rule}_hard THEN 1
             WHEN {pull} >= {rule}_from
             THEN least(1, ({rule}_base + ({pull} - {rule}_from + 1) * {rule}_step) / 1000000)
             ELSE {rule}_base / 1000000 END"""


# One row for each item, in the order of a player's draws of a kind: `place` from 1, and whether
# the banner had featured items of the rarity.
_DRAWN = """
    WITH terms AS MATERIALIZED (
        SELECT odds_version, definition ->> 'kind' AS kind,
               (definition #>> '{rules,0,hard_pity}')::int AS ultra_rare_hard_pity,
               (definition #>> '{rules,1,hard_pity}')::int AS super_rare_hard_pity,
               ARRAY(
                   SELECT rule ->> 'rarity' FROM jsonb_array_elements(definition -> 'rules') AS rule
                   WHERE rule ->> 'featured' IS NOT NULL
               ) AS featured_rarities
        FROM odds
    ), drawn AS (
        SELECT pull_id, odds_version, count, user_id, kind, number, position, rarity,
               featured, pity, ultra_rare_hard_pity, super_rare_hard_pity,
               row_number() OVER draws AS place, lag(rarity) OVER draws AS rarity_before,
               lag(pity) OVER draws AS pity_before,
               rarity = ANY(featured_rarities) AS has_featured
        FROM pull JOIN pull_item USING (pull_id) JOIN terms USING (odds_version)
        WINDOW draws AS (PARTITION BY user_id, kind ORDER BY number, position)
    )
"""
# What each banner was from when to when. A pull has the time at which its branch began, which is
# some seconds at most from that of a change that it did or did not see.
_IN_FORCE = """
    WITH in_force AS MATERIALIZED (
        SELECT *, coalesce(lead(since) OVER changes, 'infinity') AS until FROM banner_history
        WINDOW changes AS (PARTITION BY banner_id ORDER BY revision)
    )
"""
_NEAR = "interval '1 minute'"
# One row for each item with the chance that each rarity had at its draw, from 0 to 1: `floored` is
# the tenth of a ten-pull that has to keep the guarantee.
_CHANCES = f"""
    {_DRAWN}, terms_of_rates AS MATERIALIZED (
        SELECT odds_version, definition ->> 'ten_pull_guarantee' AS promise,
               coalesce(definition ->> 'guarantee_mode', 'proportional') AS mode,
               ur.base AS ur_base, ur.hard AS ur_hard, ur.soft_from AS ur_from, ur.step AS ur_step,
               sr.base AS sr_base, sr.hard AS sr_hard, sr.soft_from AS sr_from, sr.step AS sr_step
        FROM odds, {_rule(0)} AS ur, {_rule(1)} AS sr
    ), counted AS (
        SELECT pull_id, odds_version, rarity, pity, promise, mode, ur_base, ur_hard, ur_from,
               ur_step, sr_base, sr_hard, sr_from, sr_step,
               place - coalesce(max(place) FILTER (WHERE rarity <> 'rare') OVER (
                   PARTITION BY user_id, kind ORDER BY place
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS super_rare_pull,
               count = 10 AND position = 10 AND promise IS NOT NULL AND NOT coalesce(
                   bool_or(rarity IN ('ultra rare', promise)) OVER (
                       PARTITION BY pull_id ORDER BY position
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS floored
        FROM drawn JOIN terms_of_rates USING (odds_version)
    ), rated AS (
        SELECT *, {_rate("ur", "pity")} AS ur, {_rate("sr", "super_rare_pull")} AS sr_alone
        FROM counted
    ), chance AS (
        SELECT pull_id, odds_version, rarity, floored, CASE
                   WHEN NOT floored OR mode = 'keepTopRate' AND promise <> 'ultra rare' THEN ur
                   WHEN promise = 'ultra rare' THEN 1
                   ELSE coalesce(ur / nullif(ur + least(1 - ur, sr_alone), 0), 0) END AS ur, CASE
                   WHEN NOT floored THEN least(1 - ur, sr_alone)
                   WHEN promise = 'ultra rare' THEN 0
                   WHEN mode = 'keepTopRate' THEN 1 - ur
                   ELSE coalesce(least(1 - ur, sr_alone)
                                 / nullif(ur + least(1 - ur, sr_alone), 0), 1) END AS sr
        FROM rated
    )
"""
CHECKS_OF_DRAWS = {
    "a seed is drawn by once": """
        SELECT seed, count(*) FROM pull WHERE seed IS NOT NULL GROUP BY seed HAVING count(*) > 1
    """,
    "every item has a rarity that its draw could give": f"""
        {_CHANCES} SELECT pull_id, rarity, floored, ur, sr FROM chance
        WHERE 0 = CASE rarity WHEN 'ultra rare' THEN ur WHEN 'super rare' THEN sr
                              ELSE CASE WHEN floored THEN 0 ELSE 1 - ur - sr END END
    """,
    "each rarity comes as often as its odds say": f"""
        {_CHANCES}, observed AS (
            SELECT odds_version, floored, tried.rarity, count(*) AS draws,
                   count(*) FILTER (WHERE chance.rarity = tried.rarity) AS hits,
                   sum(tried.chance) AS expected,
                   sqrt(sum(tried.chance * (1 - tried.chance))) AS deviation
            FROM chance, LATERAL (VALUES ('ultra rare', ur), ('super rare', sr))
                AS tried (rarity, chance)
            GROUP BY odds_version, floored, tried.rarity
        )
        SELECT * FROM observed WHERE abs(hits - expected) > {SIGMAS} * deviation + {FEW}
    """,
    "pity numbers have no holes and no repeats": f"""
        {_DRAWN} SELECT user_id, kind, number, position, pity FROM drawn
        WHERE pity <> CASE
            WHEN place = 1 OR rarity_before = 'ultra rare' THEN 1 ELSE pity_before + 1 END
    """,
    "a pity is what its player's items say": f"""
        {_DRAWN}, recomputed AS (
            SELECT user_id, kind,
                max(place) - coalesce(max(place) FILTER (WHERE rarity = 'ultra rare'), 0),
                max(place) - coalesce(max(place) FILTER (WHERE rarity <> 'rare'), 0),
                coalesce((array_agg(NOT featured ORDER BY place DESC)
                    FILTER (WHERE has_featured AND rarity = 'ultra rare'))[1], false),
                coalesce((array_agg(NOT featured ORDER BY place DESC)
                    FILTER (WHERE has_featured AND rarity = 'super rare'))[1], false),
                coalesce((array_agg(NOT featured ORDER BY place DESC)
                    FILTER (WHERE has_featured AND rarity = 'rare'))[1], false)
            FROM drawn GROUP BY user_id, kind
        ), stored AS (
            SELECT user_id, kind, since_ultra_rare, since_super_rare,
                   ultra_rare_guaranteed, super_rare_guaranteed, rare_guaranteed
            FROM pity
        ), untouched AS (
            SELECT * FROM stored
            WHERE (since_ultra_rare, since_super_rare) = (0, 0)
              AND NOT (ultra_rare_guaranteed OR super_rare_guaranteed OR rare_guaranteed)
              AND NOT EXISTS (SELECT FROM drawn WHERE drawn.user_id = stored.user_id
                                                  AND drawn.kind = stored.kind)
        )
        (SELECT 'stored', * FROM (
            SELECT * FROM stored EXCEPT SELECT * FROM recomputed EXCEPT SELECT * FROM untouched
        ) AS wrong)
        UNION ALL
        (SELECT 'by the items', * FROM (
            SELECT * FROM recomputed EXCEPT SELECT * FROM stored
        ) AS wrong)
    """,
    "after an item that was not featured the next of its rarity is": f"""
        {_DRAWN} SELECT user_id, kind, number, position, rarity FROM (
            SELECT *, lag(featured) OVER (
                PARTITION BY user_id, kind, rarity ORDER BY place) AS featured_before
            FROM drawn WHERE has_featured
        ) AS of_rarity WHERE NOT featured AND NOT featured_before
    """,
    "an item says which guarantee gave it": f"""
        {_DRAWN}, told AS (
            SELECT drawn.*, item.featured_guaranteed, item.ten_pull_guaranteed,
                   definition ->> 'ten_pull_guarantee' AS promise
            FROM drawn JOIN pull_item AS item USING (pull_id, position)
            JOIN odds USING (odds_version)
        ), owed AS (
            SELECT pull_id, position, featured_guaranteed AS told,
                   NOT lag(featured, 1, true) OVER (
                       PARTITION BY user_id, kind, rarity ORDER BY place) AS due
            FROM told WHERE has_featured
            UNION ALL
            SELECT pull_id, position, ten_pull_guaranteed,
                   count = 10 AND position = 10 AND promise IS NOT NULL AND NOT bool_or(
                       rarity IN ('ultra rare', promise)) OVER (
                           PARTITION BY pull_id ORDER BY position
                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            FROM told
            UNION ALL
            SELECT pull_id, position, featured_guaranteed, false FROM told WHERE NOT has_featured
        )
        SELECT pull_id, position, told, due FROM owed WHERE told <> coalesce(due, false)
    """,
    "a hard pity is kept": f"""
        {_DRAWN} SELECT user_id, kind, number, position, rarity FROM (
            SELECT *, place - coalesce(max(place) FILTER (WHERE rarity <> 'rare') OVER (
                PARTITION BY user_id, kind ORDER BY place
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS super_rare_pull
            FROM drawn
        ) AS counted
        WHERE (rarity <> 'ultra rare' AND pity >= ultra_rare_hard_pity)
           OR (rarity = 'rare' AND super_rare_pull >= super_rare_hard_pity)
    """,
    "a ten-pull has what its banner guarantees": """
        SELECT pull_id FROM pull JOIN odds USING (odds_version) JOIN pull_item USING (pull_id)
        WHERE count = 10 AND definition ->> 'ten_pull_guarantee' IS NOT NULL
        GROUP BY pull_id, definition HAVING NOT bool_or(
            rarity = 'ultra rare' OR rarity = definition ->> 'ten_pull_guarantee')
    """,
    "no player has passed a banner's limit": f"""
        {_IN_FORCE} SELECT user_id, counted.banner_id, number, made FROM (
            SELECT *, sum(count) OVER (PARTITION BY user_id, banner_id ORDER BY number) AS made
            FROM pull
        ) AS counted WHERE NOT EXISTS (
            SELECT FROM in_force WHERE in_force.banner_id = counted.banner_id
              AND created_at BETWEEN since - {_NEAR} AND until + {_NEAR}
              AND coalesce(made <= nullif((offer ->> 'pull_limit')::int, 0), true))
    """,
    "a pull was drawn by the odds and at the price in force at its time": f"""
        {_IN_FORCE} SELECT pull_id, banner_id, odds_version, cost, created_at FROM pull
        WHERE NOT EXISTS (
            SELECT FROM in_force
            WHERE (in_force.banner_id, in_force.odds_version)
                = (pull.banner_id, pull.odds_version)
              AND pull.cost = pull.count * (offer ->> 'price_gems')::bigint
              AND pull.created_at BETWEEN since - {_NEAR} AND until + {_NEAR})
    """,
    "the last row of a banner's history is what is in force": """
        SELECT banner.banner_id, banner.odds_version, last.odds_version FROM banner
        LEFT JOIN LATERAL (
            SELECT * FROM banner_history WHERE banner_history.banner_id = banner.banner_id
            ORDER BY revision DESC LIMIT 1
        ) AS last ON true
        WHERE (CASE WHEN position IS NOT NULL THEN banner.odds_version END,
               CASE WHEN position IS NOT NULL THEN banner.offer END)
              IS DISTINCT FROM (last.odds_version, last.offer)
    """,
    "a count of draws is that of its player's pulls": """
        SELECT user_id, banner_id, draw_count, counted_to FROM pull_count WHERE draw_count <> (
            SELECT coalesce(sum(count), 0) FROM pull WHERE pull.user_id = pull_count.user_id
              AND pull.banner_id = pull_count.banner_id AND number <= counted_to)
    """,
}
