"""The gateway's own pages: health, status, the OpenAPI document and the page that shows it."""

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from proof.clients.rest_client import ROUTES, RestClient
from proof.players import NewPlayer
from proof.stack import Mesh
from tests import browser
from tests.e2e.harm import operators_headers

OWN_PAGES = {"/", "/healthz", "/readyz", "/status", "/odds"}


@pytest.fixture(scope="module")
def openapi(rest: RestClient) -> dict[str, Any]:
    document: dict[str, Any] = rest.http.get("/openapi.json").json()
    return document


def test_health_and_readiness_are_reported(rest: RestClient) -> None:
    assert rest.http.get("/healthz").json() == {"status": "ok"}
    assert rest.http.get("/readyz").json() == {"status": "ready"}
    assert rest.http.head("/healthz").status_code == 200


def test_status_tells_operators_every_instance_and_others_states(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer
) -> None:
    operators = rest.http.get("/status", headers=operators_headers(mesh)).json()
    shown = {"authorization": f"Bearer {new_player().token}"}
    for others in (rest.http.get("/status"), rest.http.get("/status", headers=shown)):
        assert others.json()["registry"]["viewAgeSeconds"] < 5
        assert "id" not in others.json()["gateway"]
        for role in ("account_svc", "gacha_svc", "gateway_http"):
            processes = mesh.processes(role)
            assert others.json()["services"][role] == [{"state": "serving"} for _ in processes]
            assert operators["services"][role] == [
                {"id": each["name"], "address": each["address"], "state": "serving"}
                for each in processes
            ]
        for each in (
            process for role in ("account_svc", "gacha_svc") for process in (mesh.processes(role))
        ):
            assert each["address"] not in others.text
            assert each["name"] not in others.text


def test_an_operator_with_a_bad_token_learns_so(rest: RestClient) -> None:
    refused = rest.http.get("/status", headers={"authorization": "Bearer nonsense"})
    assert (refused.status_code, refused.json()["reason"]) == (401, "TOKEN_INVALID")


def test_openapi_document_is_valid_and_has_every_route(openapi: dict[str, Any]) -> None:
    validate(openapi)
    assert openapi["openapi"].startswith("3.1")
    documented = {
        (verb.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, verbs in openapi["paths"].items()
        for verb in verbs
    }
    promised = {
        (route.split()[0], re.sub(r"\{\w+\}", "{}", route.split()[1])) for route in ROUTES.values()
    }
    promised |= {("GET", "/gacha/pull/{}"), ("POST", "/webhooks/payments")}
    promised |= {("GET", page) for page in OWN_PAGES}
    assert documented == promised


def test_answers_are_as_the_openapi_document_says(
    rest: RestClient, openapi: dict[str, Any], new_player: NewPlayer
) -> None:
    headers = {"authorization": f"Bearer {new_player(gems=320).token}"}
    pull = next(path for path in openapi["paths"] if path.startswith("/gacha/pull/"))
    for path in (pull, "/items", "/chances", "/banners", "/status", "/", "/odds", "/prices",
                 "/currency", "/ledger", "/inventory", "/pulls", "/initdb",
                 "/.well-known/jwks.json"):  # fmt: skip
        response = rest.http.get(re.sub(r"\{\w+\}", "standard", path), headers=headers)
        assert response.status_code == 200, path
        described = openapi["paths"][path]["get"]["responses"]["200"]
        schema = described["content"]["application/json"]["schema"]
        OAS31Validator({**schema, "components": openapi["components"]}).validate(response.json())


def test_docs_page_and_all_that_it_loads_come_from_here(mesh: Mesh, rest: RestClient) -> None:
    page = rest.http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    references = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert any(reference.endswith(".js") for reference in references)
    assert any(reference.endswith(".css") for reference in references)
    scripts = ""
    while references:
        url = urljoin(f"{mesh.gateway}/docs", references.pop())
        assert url.startswith(f"{mesh.gateway}/"), url
        asset = rest.http.get(url)
        assert (asset.status_code, len(asset.content) > 0) == (200, True), url
        if url.endswith(".css"):
            links = re.findall(r"""(?:url\(|@import )["']?([^"')]+)""", asset.text)
            references += [link for link in links if not link.startswith("data:")]
        elif url.endswith(".js"):
            scripts += asset.text
    assert '"/openapi.json"' in scripts


def test_docs_page_forbids_the_browser_every_other_host(rest: RestClient) -> None:
    policy = rest.http.get("/docs").headers["content-security-policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    for sources in directives.values():
        assert set(sources.split()) <= {"'none'", "'self'", "'unsafe-inline'", "data:"}
    assert "'unsafe-inline'" not in directives["script-src"]


def test_docs_page_shows_the_calls_in_a_real_browser(mesh: Mesh, tmp_path: Path) -> None:
    shown = browser.show(f"{mesh.gateway}/docs", tmp_path)
    for text in ("Gacha Mesh", "/buy-currency", "/register", "opblock"):
        assert text in shown.document
    assert "Failed to load API definition" not in shown.document
    # The browser reports violations of the page's policy here.
    assert shown.console == ""


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("/", ("Where to go", "account_svc", "serving")),
        ("/status", ("Services", "gacha_svc")),
        ("/odds", ("The Open Road", "160 gems (1.59 USD)", "Items of ultra rare")),
    ],
)
def test_pages_for_people_are_shown_in_a_real_browser_and_run_nothing(
    mesh: Mesh, tmp_path: Path, path: str, texts: tuple[str, ...]
) -> None:
    shown = browser.show(f"{mesh.gateway}{path}", tmp_path)
    for text in texts:
        assert text in shown.document
    assert "<script" not in shown.document
    # The browser reports violations of the page's policy here.
    assert shown.console == ""


def test_the_odds_page_has_every_item_and_banner_of_the_catalog(rest: RestClient) -> None:
    page = html.unescape(rest.http.get("/odds", headers={"accept": "text/html"}).text)
    for banner in rest.banners().body["banners"]:
        for text in (banner["name"], banner["description"], banner["oddsVersion"]):
            assert text in page
        for odds in banner["odds"]:
            for item in odds["items"]:
                assert item["name"] in page
