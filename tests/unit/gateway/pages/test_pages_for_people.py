"""The pages for people: who gets them, what they hold, and that nothing in them is run."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.odds.published import disclose
from gacha_svc.rpc.catalog import CatalogRpc
from gacha_svc.use_cases.catalog import PublishedBanner, PublishedOdds
from gateway_http.app import Gateway
from gateway_http.describing.pages import Presence
from gateway_http.edge.members import Members
from gateway_http.exchange import Headers
from gateway_http.pages.html import template, wants_html
from gateway_http.pages.values import Presenter, Section
from gateway_http.transcoding.encoding import Encoders
from mesh.errors import Unavailable
from mesh.identity.keys import ServiceKey, key_id
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner, service_audience
from protos.account.v1 import purchases_pb2
from protos.gacha.v1 import catalog_pb2
from tests.unit.gacha.catalogs import ITEMS, banners
from tests.unit.gateway.fakes import (
    Answer,
    FakeCaller,
    answer_of,
    contracts,
    counted_ids,
    everyone_alive,
    http_request,
    plain_edge,
    router_for,
)

BANNERS = "/gacha.v1.CatalogService/ListBanners"
PRICES = "/account.v1.PurchaseService/ListPrices"
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
SCRIPT = "<script>alert('x')</script>"


def banner(**changes: object) -> catalog_pb2.Banner:
    fields: dict[str, object] = {
        "id": "standard",
        "name": "Standard",
        "description": "Everything.",
        "kind": "standard",
        "price": 160,
        "pull_counts": [1, 10],
        "odds_version": "f00d",
        "odds": [
            catalog_pb2.RarityOdds(
                rarity="ultra rare",
                base_rate=0.6,
                hard_pity=90,
                consolidated_rate=1.605123456,
                expected_pulls=62.3,
                items=[
                    catalog_pb2.ItemOdds(item_id=301, name="Star", featured=True, base_rate=0.3)
                ],
            )
        ],
    }
    return catalog_pb2.Banner(**(fields | changes))  # type: ignore[arg-type]


def answering(*banners: catalog_pb2.Banner) -> FakeCaller:
    listed = catalog_pb2.ListBannersResponse(banners=banners)
    prices = purchases_pb2.ListPricesResponse(
        prices=[
            purchases_pb2.GemPrice(amount=160, price_minor=159, price="1.59"),
            purchases_pb2.GemPrice(amount=14_952, price_minor=14_803, price="148.03"),
        ],
        currency="USD",
    )
    return FakeCaller({BANNERS: listed.SerializeToString(), PRICES: prices.SerializeToString()})


async def get(
    path: str,
    caller: FakeCaller | None = None,
    headers: dict[str, str] | None = None,
    members: Members | None = None,
    report_url: str | None = None,
) -> Answer:
    router = router_for(
        caller or answering(banner()),
        directory=everyone_alive(),
        presence=Presence("gateway-1", "127.0.0.1:8080", lambda: 0.0),
        members=members or Members(None),
        report_url=report_url,
    )
    gateway = Gateway(
        router,
        edge=plain_edge(),
        max_in_flight=10,
        new_id=counted_ids(),
        log=structlog.get_logger(),
    )
    return await answer_of(gateway, http_request("GET", path, headers=headers))


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        ([], False),
        (["*/*"], False),
        (["text/html"], True),
        (["TEXT/HTML;q=0.5, */*"], True),
        ([BROWSER["accept"]], True),
        (["application/json"], False),
        (["application/json, text/html;q=0.9"], False),
        (["application/json;q=0.5", "text/html;q=0.9"], True),
        (["text/html;q=0"], False),
        (["text/html;q=nonsense"], True),
        ([",;,;=,"], False),
    ],
)
def test_only_a_client_that_names_html_gets_it(accept: list[str], is_html: bool) -> None:
    assert wants_html(Headers([("accept", each) for each in accept])) is is_html


@given(st.lists(st.text(max_size=60), max_size=3))
def test_any_accept_header_is_understood(accept: list[str]) -> None:
    wants_html(Headers([("accept", each) for each in accept]))


@pytest.mark.parametrize("path", ["/", "/status", "/odds"])
async def test_a_page_needs_no_script_and_nothing_from_elsewhere(path: str) -> None:
    page = await get(path, headers=BROWSER)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    assert ("vary", "accept") in page.header_list
    text = page.body.decode()
    assert not re.search(r"<script|\son\w+=|style=|javascript:", text)
    linked = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert {"/", "/odds", "/status", "/docs", "/pages.css"} <= set(linked)
    for each in linked:
        assert each.startswith(("/", "#"))
        if each.startswith("/"):
            assert (await get(each)).status == 200, each
    for needed in ('<html lang="en">', "<title>", "<main", 'href="#main"', "<h1>", "viewport"):
        assert needed in text


@pytest.mark.parametrize("path", ["/", "/status", "/odds"])
async def test_the_same_address_answers_json_to_programs(path: str) -> None:
    answer = await get(path, headers={"accept": "*/*"})
    assert answer.headers["content-type"] == "application/json"
    assert ("vary", "accept") in answer.header_list
    body = orjson.loads(answer.body)
    if path == "/odds":
        assert answer.body == (await get("/banners")).body
    else:
        assert body["status"] == "ok"


async def test_the_odds_page_shows_every_value_with_its_unit_and_price() -> None:
    text = (await get("/odds", headers=BROWSER)).body.decode()
    for shown in ("160 gems (1.59 USD)", "0.6 %", "1.60512 %", "62.3 pulls", ">never<", ">90<"):
        assert shown in text
    for shown in (">ultra rare<", ">Star<", ">yes<", "1, 10", "Items of ultra rare"):
        assert shown in text
    assert "Gems for one pull" in text


def fill(message: Message) -> set[str]:
    """Sets every field, also of the messages in it, and returns their labels."""
    labels: set[str] = set()
    for field in message.DESCRIPTOR.fields:
        labels.add(field.name.replace("_", " "))
        values = getattr(message, field.name)
        if field.message_type is not None:
            labels |= fill(values.add() if field.is_repeated else values)
        else:
            value: object = "text" if field.type == field.TYPE_STRING else 1
            if field.is_repeated:
                values.append(value)
            else:
                setattr(message, field.name, value)
    return labels


async def test_a_fraction_of_a_gem_is_priced_as_a_whole_one() -> None:
    caller = answering(banner(expected_gems_featured=14_951.36))
    text = (await get("/odds", caller, BROWSER)).body.decode()
    assert "14951.4 gems (148.03 USD)" in text
    (asked,) = [call.request for call in caller.calls if call.method == PRICES]
    assert list(purchases_pb2.ListPricesRequest.FromString(asked).amounts) == [160, 14_952]


async def test_an_amount_beyond_those_that_have_prices_hides_no_other_price() -> None:
    caller = answering(banner(), banner(expected_gems_featured=1e9 + 0.5))
    text = (await get("/odds", caller, BROWSER)).body.decode()
    assert "160 gems (1.59 USD)" in text
    (asked,) = [call.request for call in caller.calls if call.method == PRICES]
    assert list(purchases_pb2.ListPricesRequest.FromString(asked).amounts) == [160]


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
async def test_what_is_no_number_is_shown_and_has_no_price(number: float) -> None:
    caller = answering(banner(expected_gems_featured=number))
    page = await get("/odds", caller, BROWSER)
    assert page.status == 200
    assert "160 gems (1.59 USD)" in page.body.decode()


@dataclass
class OneBanner:
    """What CatalogRpc lists."""

    banner: Banner

    async def banners(self) -> tuple[PublishedBanner, ...]:
        version, terms = self.banner.odds_version, self.banner.terms
        odds = PublishedOdds(version, terms, disclose(terms), ITEMS)
        return (PublishedBanner(self.banner, odds),)


@given(banners())
@settings(deadline=None, max_examples=30)
async def test_every_banner_that_is_accepted_is_shown_with_finite_figures(offered: Banner) -> None:
    of_one: Any = OneBanner(offered)
    unused_call: Any = None
    listed_all = await CatalogRpc(of_one).list_banners(
        catalog_pb2.ListBannersRequest(), unused_call
    )
    (listed,) = listed_all.banners
    caller = answering(listed)
    page = await get("/odds", caller, BROWSER)
    assert page.status == 200, page.body
    assert not re.search(r"\b(inf|nan|infinity)\b", page.body.decode(), re.IGNORECASE)
    assert b'"Infinity"' not in (await get("/banners", caller)).body


async def test_every_field_of_the_contract_is_on_the_page() -> None:
    full = catalog_pb2.Banner()
    labels = fill(full)
    assert {"price", "odds", "base rate", "featured"} <= labels
    text = (await get("/odds", answering(full), BROWSER)).body.decode().lower()
    missing = {label for label in labels if not re.search(rf"[> ]{label}(<| of |: )", text)}
    assert missing == set()


async def test_text_of_designers_cannot_become_markup() -> None:
    evil = banner(name=SCRIPT, id='"><img src=x>', description="{{ 7 * 7 }} {% raw %}")
    evil.odds[0].items[0].name = SCRIPT
    text = (await get("/odds", answering(evil, banner()), BROWSER)).body.decode()
    assert "&lt;script&gt;alert" in text
    assert "<script" not in text
    assert "<img" not in text
    assert "{{ 7 * 7 }}" in text


@given(st.text(max_size=80))
def test_no_text_can_open_a_tag_on_the_odds_page(text: str) -> None:
    section = Section(text, text, (), ())
    values = {"sections": [section, section], "notes": [(text, text)], "stylesheet": "/pages.css"}
    empty = {**values, "sections": [Section("", "", (), ())] * 2, "notes": [("", "")]}
    rendered, plain = (template("odds.html").render(each) for each in (values, empty))
    assert rendered.count("<") == plain.count("<")
    assert rendered.count('"') == plain.count('"')


async def test_the_page_shows_odds_without_prices_while_prices_are_away() -> None:
    caller = answering(banner())
    caller.answers[PRICES] = Unavailable("No.")
    page = await get("/odds", caller, BROWSER)
    assert page.status == 200
    assert "<dd>160 gems " in page.body.decode()
    assert "USD" not in page.body.decode()


async def test_an_error_is_a_page_for_browsers_and_json_for_others() -> None:
    away = FakeCaller({BANNERS: Unavailable("Nobody <here>.", reason="ALL_INSTANCES_UNAVAILABLE")})
    page = await get("/odds", away, BROWSER)
    assert (page.status, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "Nobody &lt;here&gt;." in page.body.decode()
    other = await get("/odds", away)
    assert orjson.loads(other.body)["reason"] == "ALL_INSTANCES_UNAVAILABLE"


async def test_a_new_catalog_is_on_the_page_at_once() -> None:
    caller = answering(banner())
    assert "Renamed" not in (await get("/odds", caller, BROWSER)).body.decode()
    caller.answers |= answering(banner(name="Renamed")).answers
    assert "Renamed" in (await get("/odds", caller, BROWSER)).body.decode()


async def test_the_page_of_an_empty_catalog_says_so() -> None:
    page = await get("/odds", answering(), BROWSER)
    assert "There are no banners yet." in page.body.decode()


async def test_the_home_page_links_to_where_problems_are_reported() -> None:
    url = "mailto:help@example.com"
    assert f'href="{url}"' in (await get("/", headers=BROWSER, report_url=url)).body.decode()
    assert orjson.loads((await get("/", report_url=url)).body)["links"]["reports"] == url
    assert "mailto" not in (await get("/", headers=BROWSER)).body.decode()


def tokens() -> tuple[Members, Callable[[str, str], dict[str, str]]]:
    """Members with one known key, the operators', and headers with tokens that it signs."""
    key = Ed25519PrivateKey.generate()
    kid = key_id(key.public_key())
    known = {kid: ServiceKey("admin", key.public_key())}

    def shown(audience: str, subject: str) -> dict[str, str]:
        return {"authorization": f"Bearer {TokenSigner(key, audience, 60).sign(subject)}"}

    return Members(known.get), shown


async def test_operators_see_names_and_addresses() -> None:
    members, shown = tokens()
    headers = shown(service_audience("gateway_http"), "admin")
    body = orjson.loads((await get("/status", headers=headers, members=members)).body)
    assert body["gateway"]["id"] == "gateway-1"
    assert body["services"]["account_svc"] == [
        {"id": "account_svc-1", "address": "127.0.0.1:1", "state": "serving"}
    ]
    page = await get("/status", headers=headers | BROWSER, members=members)
    assert "account_svc-1" in page.body.decode()


async def test_a_token_that_proves_no_operator_shows_no_more() -> None:
    members, shown = tokens()
    headers = shown(PLAYER_AUDIENCE, "11111111-2222-3333-4444-555555555555")
    answer = await get("/status", headers=headers, members=members)
    assert b"account_svc-1" not in answer.body
    for wrong, reason in (
        ({"authorization": "Bearer x"}, "TOKEN_INVALID"),
        (shown(service_audience("gateway_http"), "gacha_svc"), "TOKEN_INVALID"),
        (shown(service_audience("gacha_svc"), "admin"), "WRONG_AUDIENCE"),
    ):
        refused = await get("/status", headers=wrong, members=members)
        assert (refused.status, orjson.loads(refused.body)["reason"]) == (401, reason)
    ignored = await get("/status", headers={"authorization": "Bearer x"})
    assert ignored.status == 200


def test_the_odds_say_to_players_what_concerns_them() -> None:
    """No sentence is about requests, calls or how a value is written in JSON."""
    presenter = Presenter(contracts().comments, lambda _: "")
    encode = Encoders().of(catalog_pb2.Banner.DESCRIPTOR).encode
    shown = orjson.loads(encode(banner()))
    section = presenter.section(catalog_pb2.Banner.DESCRIPTOR, shown)
    notes = [entry.note for entry in section.entries] + [
        note for table in section.tables for _, note in table.columns
    ]
    of_developers = re.compile(
        r"\b(requests?|a Pull|players? (see|has|without)|for players|empty)\b|\b0 (for|when)\b"
    )
    assert [note for note in notes if of_developers.search(note)] == []
    assert [entry.label for entry in section.entries if not entry.note] == ["Name", "Description"]
