"""Banners publish all their odds, and draws use exactly the published odds."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from proof.clients.client import Client
from proof.clients.rest_client import RestClient
from proof.players import NewPlayer

BANNER_KEYS = {
    "id",
    "name",
    "description",
    "kind",
    "price",
    "pullCounts",
    "pullLimit",
    "oddsVersion",
    "odds",
    "tenPullGuarantee",
    "guaranteeMode",
    "tenPullOdds",
    "expectedPullsFeatured",
    "expectedGemsFeatured",
}
ODDS_KEYS = {
    *("oddsVersion", "kind", "odds", "tenPullGuarantee", "guaranteeMode", "tenPullOdds"),
    "expectedPullsFeatured",
}
PITY_KEYS = {
    *("bannerId", "kind", "oddsVersion", "sinceUltraRare", "sinceSuperRare", "nextPull"),
}
AHEAD_KEYS = {"rarity", "rate", "featuredRate", "featuredGuaranteed", "pullsToHardPity"}
RARITY_KEYS = {
    "rarity",
    "baseRate",
    "softPityFrom",
    "softPityStep",
    "hardPity",
    "consolidatedRate",
    "expectedPulls",
    "featuredShare",
    "items",
}


@pytest.fixture(scope="module")
def banners(rest: RestClient) -> dict[str, dict[str, Any]]:
    """The banners by id."""
    return {banner["id"]: banner for banner in rest.banners().body["banners"]}


def test_there_is_a_standard_a_limited_and_a_beginners_banner(client: Client) -> None:
    listed = client.banners().body["banners"]
    assert [(banner["id"], banner["kind"]) for banner in listed] == [
        ("standard", "standard"),
        ("lamplighter", "limited"),
        ("beginner", "beginner"),
    ]


def test_one_banner_is_shown_as_in_the_list(client: Client) -> None:
    for banner in client.banners().body["banners"]:
        assert client.banner(banner["id"]).body == banner


def test_banners_disclose_every_rule_and_item(client: Client) -> None:
    for banner in client.banners().body["banners"]:
        assert set(banner) == BANNER_KEYS
        assert type(banner["price"]) is int
        assert [odds["rarity"] for odds in banner["odds"]] == ["ultra rare", "super rare", "rare"]
        for odds in banner["tenPullOdds"]:
            assert set(odds) == {"rarity", "freshRate", "consolidatedRate", "expectedPulls"}
        for odds in banner["odds"]:
            assert set(odds) == RARITY_KEYS
            assert odds["items"]
            for item in odds["items"]:
                assert set(item) == {"itemId", "name", "featured", "baseRate"}


def test_rates_sum_to_100_in_every_way_of_adding_them(banners: dict[str, dict[str, Any]]) -> None:
    for banner in banners.values():
        odds = banner["odds"]
        for rate in ("baseRate", "consolidatedRate"):
            assert math.fsum(each[rate] for each in odds) == pytest.approx(100, abs=1e-6)
        for each in odds:
            of_items = math.fsum(item["baseRate"] for item in each["items"])
            assert of_items == pytest.approx(each["baseRate"], abs=1e-6)
            assert each["expectedPulls"] * each["consolidatedRate"] == pytest.approx(100)


@pytest.mark.parametrize("banner_id", ["standard", "lamplighter"])
def test_pity_from_74_and_certain_at_90_gives_the_published_vector(
    banners: dict[str, dict[str, Any]], banner_id: str
) -> None:
    ultra = banners[banner_id]["odds"][0]
    assert (ultra["baseRate"], ultra["softPityFrom"], ultra["softPityStep"]) == (0.6, 74, 6.0)
    assert ultra["hardPity"] == 90
    assert round(ultra["consolidatedRate"], 4) == 1.6052
    assert round(ultra["expectedPulls"], 4) == 62.2973


def test_rate_up_tells_what_is_featured_and_how_much(banners: dict[str, dict[str, Any]]) -> None:
    ultra = banners["lamplighter"]["odds"][0]
    assert ultra["featuredShare"] == 50
    featured = [item for item in ultra["items"] if item["featured"]]
    assert [item["name"] for item in featured] == ["Aurelia, the Last Lamplighter"]
    assert featured[0]["baseRate"] == pytest.approx(0.3)


def test_ten_pull_odds_count_the_guarantee_and_pity(banners: dict[str, dict[str, Any]]) -> None:
    beginner = banners["beginner"]
    assert (beginner["tenPullGuarantee"], beginner["guaranteeMode"]) == (
        "super rare",
        "proportional",
    )
    rates = {odds["rarity"]: odds["freshRate"] for odds in beginner["tenPullOdds"]}
    assert rates == pytest.approx(
        {"ultra rare": 1.3487, "super rare": 12.1381, "rare": 86.5132}, abs=5e-5
    )
    for banner_id in ("standard", "lamplighter"):
        banner = banners[banner_id]
        assert banner["guaranteeMode"] == ""
        single = [odds["consolidatedRate"] for odds in banner["odds"]]
        assert [odds["consolidatedRate"] for odds in banner["tenPullOdds"]] == single


def test_a_banner_tells_the_pulls_and_gems_to_a_featured_item(
    banners: dict[str, dict[str, Any]],
) -> None:
    lamplighter = banners["lamplighter"]
    assert lamplighter["expectedPullsFeatured"] == pytest.approx(93.446, abs=5e-4)
    assert lamplighter["expectedGemsFeatured"] == pytest.approx(93.446 * 160, abs=0.08)
    assert banners["standard"]["expectedPullsFeatured"] == 0


def test_pity_is_told_as_it_will_count(
    client: Client, new_player: NewPlayer, banners: dict[str, dict[str, Any]]
) -> None:
    token = new_player(gems=1600).token
    fresh = {each["bannerId"]: each for each in client.pity(token).body["banners"]}
    assert list(fresh) == list(banners)
    for banner_id, pity in fresh.items():
        assert set(pity) == PITY_KEYS
        assert (pity["sinceUltraRare"], pity["sinceSuperRare"]) == (0, 0)
        assert pity["oddsVersion"] == banners[banner_id]["oddsVersion"]
        rates = [ahead["rate"] for ahead in pity["nextPull"]]
        assert rates == [odds["baseRate"] for odds in banners[banner_id]["odds"]]
    assert client.pull(token, "lamplighter", 10).ok
    drawn = client.pulls(token).body["pulls"][0]["items"]
    rarities = [item["rarity"] for item in drawn]
    pities = {each["bannerId"]: each for each in client.pity(token).body["banners"]}
    assert {**pities, "lamplighter": None} == {**fresh, "lamplighter": None}
    of_one = client.pity(token, "lamplighter").body["banners"]
    assert of_one == [pities["lamplighter"]]
    since = rarities[::-1].index("ultra rare") if "ultra rare" in rarities else 10
    assert of_one[0]["sinceUltraRare"] == since
    assert of_one[0]["sinceSuperRare"] == next(
        back for back, rarity in enumerate(rarities[::-1]) if rarity != "rare"
    )
    for ahead in of_one[0]["nextPull"][:2]:
        assert set(ahead) == AHEAD_KEYS
        featured = [item["featured"] for item in drawn if item["rarity"] == ahead["rarity"]]
        assert ahead["featuredGuaranteed"] is (featured[-1:] == [False])


def test_chances_are_those_of_the_banner(client: Client) -> None:
    for banner in client.banners().body["banners"]:
        chances = client.chances(banner["id"]).body["chances"]
        for odds in banner["odds"]:
            assert chances[odds["rarity"].replace(" ", "_")] == pytest.approx(odds["baseRate"])


def test_the_odds_of_a_version_are_those_of_its_banner_and_its_history_names_it(
    client: Client,
) -> None:
    for banner in client.banners().body["banners"]:
        odds = client.odds(banner["oddsVersion"])
        assert set(odds.body) == ODDS_KEYS
        assert all(odds.body[key] == banner[key] for key in ODDS_KEYS)
        history = client.banner_history(banner["id"]).body
        assert history["nextPageToken"] == ""
        in_force = history["periods"][0]
        assert in_force.get("until") is None
        assert in_force["oddsVersion"] == banner["oddsVersion"]
        assert datetime.fromisoformat(in_force["since"]) < datetime.now(UTC)


def test_unknown_odds_are_not_found(client: Client) -> None:
    for version in ("0" * 12, "nothing"):
        answer = client.odds(version)
        assert (answer.code, answer.reason) == ("NOT_FOUND", "ODDS_NOT_FOUND")


def test_unknown_banner_is_not_found(client: Client, new_player: NewPlayer) -> None:
    answers = [
        client.banner("nowhere"),
        client.chances("nowhere"),
        client.banner_history("nowhere"),
        client.pity(new_player().token, "nowhere"),
        client.pull(new_player(gems=160).token, "nowhere"),
    ]
    for answer in answers:
        assert (answer.code, answer.reason) == ("NOT_FOUND", "BANNER_NOT_FOUND")
        assert "there are: standard, lamplighter, beginner." in answer.message


def test_pulls_are_stored_with_the_odds_version_of_their_banner(
    client: Client, new_player: NewPlayer, banners: dict[str, dict[str, Any]]
) -> None:
    token = new_player(gems=3000).token
    for banner_id, banner in banners.items():
        assert client.pull(token, banner_id).ok
        newest = client.pulls(token).body["pulls"][0]
        assert newest["bannerId"] == banner_id
        assert newest["oddsVersion"] == banner["oddsVersion"]
        assert newest["cost"] == banner["price"]


def test_ten_pull_of_the_beginners_banner_keeps_its_guarantee(
    rest: RestClient, new_player: NewPlayer
) -> None:
    token = new_player(gems=1280 * 8).token
    for _ in range(8):
        pulled = rest.pull(token, "beginner", 10).body["pulled_items"]
        assert {item["rarity"] for item in pulled} & {"super rare", "ultra rare"}
    for pull in rest.pulls(token).body["pulls"]:
        *nine, tenth = pull["items"]
        is_due = all(item["rarity"] == "rare" for item in nine)
        assert tenth["tenPullGuaranteed"] is is_due
        assert not any(item["tenPullGuaranteed"] for item in nine)


def test_ten_pull_on_the_standard_banner_has_a_super_rare_by_hard_pity(
    rest: RestClient, new_player: NewPlayer
) -> None:
    token = new_player(gems=1600 * 4).token
    for _ in range(4):
        pulled = rest.pull(token, "standard", 10).body["pulled_items"]
        assert any(item["rarity"] != "rare" for item in pulled)


def test_pity_counts_from_the_last_ultra_rare(rest: RestClient, new_player: NewPlayer) -> None:
    token = new_player(gems=1600 * 10).token
    for _ in range(10):
        assert rest.pull(token, "standard", 10).ok
    history = rest.pulls(token).body["pulls"]
    drawn = [item for pull in reversed(history) for item in pull["items"]]
    expected = 0
    for item in drawn:
        expected += 1
        assert item["pity"] == expected
        if item["rarity"] == "ultra rare":
            expected = 0
    assert len(drawn) == 100
    assert any(item["rarity"] == "ultra rare" for item in drawn[:90])
