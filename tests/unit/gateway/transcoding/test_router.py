"""The route for each path and verb."""

from typing import Any
from urllib.parse import quote

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from hypothesis import given
from hypothesis import strategies as st

from gateway_http.errors import MalformedPath, MethodNotAllowed, RouteNotFound
from gateway_http.transcoding.contracts import UnsupportedContract, load_contracts
from gateway_http.transcoding.router import Router
from protos import DESCRIPTORS
from protos.mesh.v1 import options_pb2
from tests.unit.gateway.transcoding.named_endpoint import Named


def router(*routes: str) -> Router:
    made = Router()
    for route in routes:
        verb, template = route.split()
        made.add(verb, template, Named(route))
    return made


def found(made: Router, verb: str, path: str) -> tuple[Any, dict[str, str]]:
    target, variables = made.match(verb, path)
    return target.endpoint.name, variables  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("verb", "path", "route", "variables"),
    [
        ("GET", "/items", "GET /items", {}),
        ("GET", "/banners", "GET /banners", {}),
        ("GET", "/banners/x", "GET /banners/{banner_id}", {"banner_id": "x"}),
        ("GET", "/banners/a%20b%25%C3%A9", "GET /banners/{banner_id}", {"banner_id": "a b%é"}),
        ("GET", "/banners/a%2Fb", "GET /banners/{banner_id}", {"banner_id": "a/b"}),
        ("GET", "/banners/%62est", "GET /banners/{banner_id}", {"banner_id": "best"}),
        ("GET", "/banners/%00", "GET /banners/{banner_id}", {"banner_id": "\0"}),
        ("GET", "/banners/...", "GET /banners/{banner_id}", {"banner_id": "..."}),
        ("GET", "/banners%2Fx", "GET /{anything}", {"anything": "banners/x"}),
        ("GET", "/banners/best", "GET /banners/best", {}),
        ("PUT", "/banners/best", "PUT /banners/{id}", {"id": "best"}),
        ("GET", "/banners/best/odds", "GET /banners/{id}/odds", {"id": "best"}),
        ("GET", "/{banner_id}", "GET /{anything}", {"anything": "{banner_id}"}),
    ],
)
def test_a_path_finds_its_route(
    verb: str, path: str, route: str, variables: dict[str, str]
) -> None:
    made = router(
        "GET /items",
        "GET /banners",
        "GET /banners/{banner_id}",
        "GET /banners/best",
        "PUT /banners/{id}",
        "GET /banners/{id}/odds",
        "GET /{anything}",
    )
    assert found(made, verb, path) == (route, variables)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "/items/",
        "/Items",
        "/items//",
        "//items",
        "/banners/",
        "/banners/x/y",
        "items",
        "/banners//",
        "/banners%2Fx",
        "/%69tems",
        "/items/.",
        "/items/../items",
        "/banners/.",
        "/banners/..",
        "/banners/%2e",
        "/banners/.%2E",
        "/banners/%2E%2e",
        "*",
        "/" + "a/" * 10_000,
    ],
)
def test_a_path_without_a_route_is_not_found(path: str) -> None:
    made = router("GET /items", "GET /banners/{banner_id}")
    with pytest.raises(RouteNotFound):
        made.match("GET", path)
    with pytest.raises(RouteNotFound):
        made.allowed(path)


@pytest.mark.parametrize("segment", ["%", "%zz", "%4", "a%2", "%ff", "%C0%AE", "%ED%A0%80"])
def test_a_variable_that_cannot_be_decoded_is_refused(segment: str) -> None:
    with pytest.raises(MalformedPath):
        router("GET /banners/{banner_id}").match("GET", f"/banners/{segment}")


@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda id: id not in (".", "..")))
def test_every_id_survives_its_encoding(banner_id: str) -> None:
    made = router("GET /banners/best", "PUT /banners/{id}")
    path = f"/banners/{quote(banner_id, safe='')}"
    assert found(made, "PUT", path) == ("PUT /banners/{id}", {"id": banner_id})


@given(st.text("/.%2eEfFgpul", max_size=12).map(lambda text: f"/{text}"))
def test_a_literal_route_has_one_spelling(path: str) -> None:
    made = router("GET /g/pull", "GET /g")
    if path in ("/g/pull", "/g"):
        assert found(made, "GET", path) == (f"GET {path}", {})
    else:
        with pytest.raises(RouteNotFound):
            made.match("GET", path)


def test_a_wrong_verb_is_answered_with_the_verbs_of_the_path() -> None:
    made = router("GET /pull/{id}", "POST /pull/{id}", "PUT /pull/best", "GET /items")
    with pytest.raises(MethodNotAllowed) as caught:
        made.match("DELETE", "/pull/best")
    assert caught.value.allow == "GET, OPTIONS, POST, PUT"
    with pytest.raises(MethodNotAllowed) as caught:
        made.match("get", "/items")
    assert caught.value.allow == "GET, OPTIONS"


def test_head_acts_as_get_only_where_enabled() -> None:
    made = Router()
    made.add("GET", "/safe", Named("safe"), also_head=True)
    made.add("GET", "/changes", Named("changes"))
    assert found(made, "HEAD", "/safe") == ("safe", {})
    with pytest.raises(MethodNotAllowed):
        made.match("HEAD", "/changes")


@pytest.mark.parametrize(
    "template", ["items", "/items/", "/a/{b=**}", "/a/{b=c/*}", "/a/{b.c}", "/a:verb", "/a//b"]
)
def test_a_template_that_cannot_be_carried_ends_the_start(template: str) -> None:
    with pytest.raises(UnsupportedContract):
        Router().add("GET", template, Named("x"))


def test_two_routes_for_the_same_paths_end_the_start() -> None:
    made = router("GET /banners/{id}", "GET /items")
    with pytest.raises(UnsupportedContract):
        made.add("GET", "/banners/{name}", Named("x"))
    with pytest.raises(UnsupportedContract):
        made.add("GET", "/items", Named("x"))


@pytest.mark.parametrize("option", [options_pb2.cache_seconds, options_pb2.memory_ms])
@pytest.mark.parametrize("name", ["Login", "GetCurrency", "InitDb"])
def test_an_answer_that_nobody_may_keep_is_not_declared_to_be_kept(name: str, option: Any) -> None:
    files = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    for file in files.file:
        for service in file.service:
            for method in service.method:
                if method.name == name:
                    method.options.Extensions[option] = 5
    with pytest.raises(UnsupportedContract, match=name):
        load_contracts(files.SerializeToString())
