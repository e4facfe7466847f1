"""Disclosed odds are computed once a version, and a bounded number of versions is kept."""

import asyncio

from gacha_svc.domain.odds.published import disclose
from gacha_svc.domain.terms import Terms
from gacha_svc.use_cases.disclosed_odds import DisclosedOdds
from tests.unit.gacha.catalogs import SR, UR, banner_of, rule


def banner(number: int) -> Terms:
    return banner_of(rule(UR, 10_000 + number), rule(SR, 90_000))


async def test_each_version_is_computed_once_also_for_many_at_once() -> None:
    odds = DisclosedOdds()
    at_once = await asyncio.gather(*(odds.of(banner(number % 2)) for number in range(10)))
    later = await odds.of(banner(1))
    assert at_once[0] == disclose(banner(0))
    assert later == disclose(banner(1))
    assert {id(each) for each in at_once} == {id(at_once[0]), id(later)}


async def test_the_versions_asked_for_last_are_kept_and_no_more() -> None:
    odds = DisclosedOdds(max_kept=3)
    first = [await odds.of(banner(number)) for number in range(3)]
    assert await odds.of(banner(0)) is first[0]
    await odds.of(banner(3))
    assert await odds.of(banner(0)) is first[0], "it was asked for after the others"
    assert await odds.of(banner(2)) is first[2]
    assert await odds.of(banner(1)) is not first[1]
