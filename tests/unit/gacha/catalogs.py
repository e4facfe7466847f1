"""Small catalogs, random sources and strategies that the tests of the engine share."""

from collections.abc import Iterable

from hypothesis import reject
from hypothesis import strategies as st
from pydantic import ValidationError

from gacha_svc.domain.banners import Banner, Item
from gacha_svc.domain.field_types import CERTAIN_PPM
from gacha_svc.domain.pity import Pity
from gacha_svc.domain.rarities import RARITIES, Rarity
from gacha_svc.domain.terms import Featured, GuaranteeMode, RarityRule, SoftPity

UR, SR, R = RARITIES
ITEMS = {
    item.id: item
    for item in (
        *(Item(id=300 + n, name=f"Ultra {n}", rarity=UR) for n in range(1, 5)),
        *(Item(id=200 + n, name=f"Super {n}", rarity=SR) for n in range(1, 5)),
        *(Item(id=100 + n, name=f"Plain {n}", rarity=R) for n in range(1, 5)),
    )
}
POOLS = {UR: (301, 302, 303, 304), SR: (201, 202, 203, 204), R: (101, 102, 103, 104)}
SOFT_74 = SoftPity(from_pull=74, step_ppm=60_000)


def rule(
    rarity: Rarity,
    rate_ppm: int,
    *,
    soft: SoftPity | None = None,
    hard: int | None = None,
    featured: tuple[int, ...] = (),
    share_ppm: int = 500_000,
    item_ids: tuple[int, ...] | None = None,
) -> RarityRule:
    return RarityRule(
        rarity=rarity,
        base_rate_ppm=rate_ppm,
        soft_pity=soft,
        hard_pity=hard,
        featured=Featured(item_ids=featured, share_ppm=share_ppm) if featured else None,
        item_ids=POOLS[rarity] if item_ids is None else item_ids,
    )


def banner_of(
    ultra_rare: RarityRule,
    super_rare: RarityRule,
    *,
    guarantee: Rarity | None = None,
    mode: GuaranteeMode = GuaranteeMode.PROPORTIONAL,
) -> Banner:
    """A banner whose rare items have the remaining rate."""
    rest_ppm = CERTAIN_PPM - ultra_rare.base_rate_ppm - super_rare.base_rate_ppm
    return Banner(
        id="test",
        name="Test",
        description="A banner for tests.",
        kind="test",
        price_gems=160,
        ten_pull_guarantee=guarantee,
        guarantee_mode=mode,
        rules=(ultra_rare, super_rare, rule(R, rest_ppm)),
    )


RATE_UP = banner_of(
    rule(UR, 6_000, soft=SOFT_74, hard=90, featured=(301,)), rule(SR, 51_000, hard=10)
)
FLAT = banner_of(rule(UR, 6_000), rule(SR, 51_000))
BEGINNER = banner_of(rule(UR, 10_000), rule(SR, 90_000), guarantee=SR)
KEEPS_TOP_RATE = banner_of(
    rule(UR, 30_000), rule(SR, 185_000), guarantee=SR, mode=GuaranteeMode.KEEP_TOP_RATE
)


class Script:
    """A random source with given numbers; each is returned as the requested number of bytes."""

    def __init__(self, *values: int) -> None:
        self._values = list(values)

    def __call__(self, count: int) -> bytes:
        return self._values.pop(0).to_bytes(count, "big")

    @property
    def is_spent(self) -> bool:
        return not self._values


def counts_after(rarities: Iterable[Rarity], start: Pity) -> tuple[int, int]:
    """The two counts after these draws, computed from the text of the rule alone."""
    since_ultra_rare, since_super_rare = start.since_ultra_rare, start.since_super_rare
    for rarity in rarities:
        since_ultra_rare = 0 if rarity == "ultra rare" else since_ultra_rare + 1
        since_super_rare = 0 if rarity != "rare" else since_super_rare + 1
    return since_ultra_rare, since_super_rare


@st.composite
def rules(draw: st.DrawFn, rarity: Rarity, most_ppm: int) -> RarityRule:
    soft = draw(
        st.none()
        | st.builds(SoftPity, from_pull=st.integers(1, 15), step_ppm=st.integers(100, 300_000))
    )
    lowest_hard = soft.from_pull if soft else 1
    hard = draw(st.none() | st.integers(lowest_hard, 20))
    least_ppm = 0 if soft or hard else 1
    featured = draw(st.sets(st.sampled_from(POOLS[rarity])))
    return rule(
        rarity,
        draw(st.integers(least_ppm, most_ppm)),
        soft=soft,
        hard=hard,
        featured=tuple(featured),
        share_ppm=draw(st.integers(1, CERTAIN_PPM)),
    )


@st.composite
def banners(draw: st.DrawFn) -> Banner:
    """Any banner that the rules accept."""
    guarantee = draw(st.sampled_from((None, SR, UR)))
    mode = draw(st.sampled_from(GuaranteeMode)) if guarantee else GuaranteeMode.PROPORTIONAL
    highest, middle = draw(rules(UR, 300_000)), draw(rules(SR, 600_000))
    try:
        return banner_of(highest, middle, guarantee=guarantee, mode=mode)
    except ValidationError:  # a pity leaves no room for another rarity
        reject()


@st.composite
def pities(draw: st.DrawFn) -> Pity:
    since_ultra_rare = draw(st.integers(0, 40))
    flags = [draw(st.booleans()) for _ in RARITIES]
    return Pity(since_ultra_rare, draw(st.integers(0, since_ultra_rare)), *flags)
