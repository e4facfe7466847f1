"""Bad routes, verbs, queries and headers get the JSON error, and affect no other caller."""

import socket
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from proof.clients.rest_client import RestClient
from proof.players import NewPlayer, Player
from proof.stack import Mesh
from tests.e2e.hostile.raw_http import send
from tests.e2e.hostile.refusals import refusal

pytestmark = pytest.mark.usefixtures("unharmed_mesh", "answers_afterwards")

UNKNOWN_ROUTES = [
    "/nowhere",
    "//",
    "/items/",
    "//items",
    "/Items",
    "/gacha/pull",
    "/gacha/pull/",
    "/gacha/pull/standard/10",
    "/gacha%2Fpull%2Fstandard",
    "/gacha/pull%2Fstandard",
    "/gacha/%70ull/standard",
    "/gacha/pull/..",
    "/gacha/pull/%2e%2E",
    "/banners/.",
    "/account.v1.AccountService/Login",
    "/tx.v1.ParticipantService/Prepare",
    "/docs/../etc/passwd",
    "/docs/..%2f..%2fetc%2fpasswd",
    "/" + "x" * 5000,
]
UNKNOWN_BANNERS = ["nowhere", "STANDARD", "a%2Fb", "%2e%2e%2fitems", "..%20", "x" * 5000]
MALFORMED_BANNERS = ["%zz", "%ff", "%", "%C0%AE", "%ED%A0%80"]
ALLOWED = {
    "/register": "OPTIONS, POST",
    "/login": "OPTIONS, POST",
    "/buy-currency": "OPTIONS, POST",
    "/refresh": "OPTIONS, POST",
    "/logout": "OPTIONS, POST",
    "/initdb": "GET, OPTIONS",
    "/currency": "GET, HEAD, OPTIONS",
    "/items": "GET, HEAD, OPTIONS",
    "/chances": "GET, HEAD, OPTIONS",
    "/banners/standard": "GET, HEAD, OPTIONS",
    "/gacha/pull/standard": "GET, OPTIONS, POST",
    "/": "GET, HEAD, OPTIONS",
    "/odds": "GET, HEAD, OPTIONS",
    "/prices": "GET, HEAD, OPTIONS",
    "/status": "GET, HEAD, OPTIONS",
    "/docs": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("target", UNKNOWN_ROUTES, ids=lambda target: target[:40])
@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_unknown_route_is_not_found(mesh: Mesh, verb: str, target: str) -> None:
    response = send(mesh, verb, target, {"content-length": "0"} if verb == "POST" else {})
    assert response.status == 404
    error = response.error()
    assert (error["code"], error["reason"]) == ("NOT_FOUND", "ROUTE_NOT_FOUND")
    assert error["requestId"] == response.headers["x-request-id"]


@pytest.mark.parametrize("banner", UNKNOWN_BANNERS, ids=lambda banner: banner[:20])
@pytest.mark.parametrize("route", ["/banners/", "/gacha/pull/", "/chances?bannerId="])
def test_unknown_banner_is_not_found(
    mesh: Mesh, bystander: Player, route: str, banner: str
) -> None:
    response = send(mesh, "GET", f"{route}{banner}", {"authorization": f"Bearer {bystander.token}"})
    error = response.error()
    assert (response.status, error["code"]) == (404, "NOT_FOUND")
    assert error["reason"] == "BANNER_NOT_FOUND"


@pytest.mark.parametrize("banner", MALFORMED_BANNERS)
@pytest.mark.parametrize("route", ["/banners/", "/gacha/pull/", "/chances?bannerId="])
def test_what_cannot_be_decoded_is_refused(
    mesh: Mesh, bystander: Player, route: str, banner: str
) -> None:
    response = send(mesh, "GET", f"{route}{banner}", {"authorization": f"Bearer {bystander.token}"})
    error = response.error()
    if response.status == 404:
        # In a query, a % that escapes nothing stands for itself, as in forms of browsers.
        assert ("?" in route, banner in ("%zz", "%")) == (True, True)
        assert error["reason"] == "BANNER_NOT_FOUND"
    else:
        assert (response.status, error["code"]) == (400, "INVALID_ARGUMENT")
        assert error["reason"] == ("MALFORMED_QUERY" if "?" in route else "MALFORMED_PATH")


@pytest.mark.parametrize("route", ALLOWED)
@pytest.mark.parametrize("verb", ["DELETE", "PUT", "PATCH"])
def test_wrong_verb_gets_the_right_ones(rest: RestClient, verb: str, route: str) -> None:
    response = rest.http.request(verb, route)
    refusal(response, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == ALLOWED[route]


@pytest.mark.parametrize("route", ["/register", "/login", "/buy-currency"])
def test_reading_where_one_writes_is_a_wrong_verb(rest: RestClient, route: str) -> None:
    refusal(rest.http.get(route), 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED")


def test_head_pulls_nothing(rest: RestClient, new_player: NewPlayer) -> None:
    token = new_player(gems=160).token
    headers = {"authorization": f"Bearer {token}"}
    assert rest.http.head("/gacha/pull/standard", headers=headers).status_code == 405
    assert rest.currency(token).body["currencyBalance"] == 160


@pytest.mark.parametrize(
    ("target", "field"),
    [
        ("/items?x=1", "x"),
        ("/currency?userId=somebody", "userId"),
        ("/gacha/pull/standard?count=0", "count"),
        ("/gacha/pull/standard?count=ten", "count"),
        ("/gacha/pull/standard?count=", "count"),
        ("/gacha/pull/standard?count=1&count=10", "count"),
        ("/gacha/pull/standard?bannerId=beginner", "bannerId"),
        ("/ledger?pageSize=1.5", "pageSize"),
        ("/ledger?pageSize=99999999999", "pageSize"),
        ("/ledger?pageToken=%00", "pageToken"),
        ("/banners/%00", "bannerId"),
        ("/gacha/pull/a%00b", "bannerId"),
    ],
)
def test_wrong_parameter_is_named(mesh: Mesh, bystander: Player, target: str, field: str) -> None:
    response = send(mesh, "GET", target, {"authorization": f"Bearer {bystander.token}"})
    error = response.error()
    assert (response.status, error["reason"]) == (400, "INVALID_FIELD"), error
    assert [each["field"] for each in error["fields"]] == [field]


def test_too_many_parameters_are_refused(rest: RestClient) -> None:
    response = rest.http.get("/items?" + "&".join(f"a{number}=1" for number in range(500)))
    refusal(response, 400, "INVALID_ARGUMENT", "MALFORMED_QUERY")


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "cl\xe9", "a\tb", '"k', '"a b"', '""'])
def test_bad_idempotency_key_is_refused_and_buys_nothing(
    mesh: Mesh, rest: RestClient, new_player: NewPlayer, key: str
) -> None:
    """If it were ignored, a retry could buy or pull twice."""
    token = new_player(gems=160).token
    headers = {"authorization": f"Bearer {token}", "idempotency-key": key}
    response = send(mesh, "GET", "/gacha/pull/standard", headers)
    error = response.error()
    assert response.status == 400, error
    assert error["reason"] == "INVALID_FIELD"
    assert [each["field"] for each in error["fields"]] == ["Idempotency-Key"]
    assert rest.currency(token).body["currencyBalance"] == 160


@pytest.mark.parametrize("timeout", ["", "5", "S", "-1S", "1.5S", "5s", "123456789S", "5 S"])
def test_bad_timeout_is_refused(rest: RestClient, timeout: str) -> None:
    response = rest.http.get("/items", headers={"grpc-timeout": timeout})
    error = refusal(response, 400, "INVALID_ARGUMENT", "INVALID_FIELD")
    assert error["fields"][0]["field"] == "Grpc-Timeout"


def test_impatient_callers_take_no_instance_out(rest: RestClient, bystander: Player) -> None:
    """A deadline that is too short is the caller's mistake, not the instance's failure."""
    headers = {"authorization": f"Bearer {bystander.token}"}
    for timeout in ["0S", "1n", "50u", "200u", "1m"] * 12:
        response = rest.http.get("/currency", headers={**headers, "grpc-timeout": timeout})
        assert response.status_code in {200, 504}
        login = {"username": "nobody-at-all", "password": "a wrong password"}
        response = rest.http.post("/login", json=login, headers={"grpc-timeout": timeout})
        assert response.status_code in {401, 504}
        if response.status_code != 401:
            assert response.json()["code"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("request_id", ["a b", "x" * 500, "cl\xe9", ""])
def test_unfit_request_id_is_replaced(mesh: Mesh, request_id: str) -> None:
    response = send(mesh, "GET", "/nowhere", {"x-request-id": request_id})
    assert response.error()["requestId"] == response.headers["x-request-id"]
    assert response.headers["x-request-id"] != request_id
    assert len(response.headers["x-request-id"]) == 32


@pytest.mark.parametrize("size", [5_000, 20_000, 300_000])
def test_huge_headers_do_no_harm(mesh: Mesh, bystander: Player, size: int) -> None:
    headers = {"authorization": f"Bearer {bystander.token}", "x-junk": "j" * size}
    assert send(mesh, "GET", "/currency", headers).status in {200, 431}
    headers = {"authorization": f"Bearer {'x' * size}"}
    assert send(mesh, "GET", "/currency", headers).status in {401, 431}
    headers = {"authorization": f"Bearer {bystander.token}", "idempotency-key": "k" * size}
    assert send(mesh, "GET", "/gacha/pull/standard", headers).status in {400, 431}
    many = {f"x-junk-{number}": "j" for number in range(size // 100)}
    assert send(mesh, "GET", "/items", many).status in {200, 431}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"BREW /items HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /items HTTP/9.9\r\n\r\n",
        b"GET /ite\x00ms HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n",
        b"POST /login HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_bytes_that_are_not_http_are_refused(mesh: Mesh, request_bytes: bytes) -> None:
    gateway = urlsplit(mesh.gateway)
    with socket.create_connection((gateway.hostname, gateway.port), timeout=10) as connection:
        connection.sendall(request_bytes)
        answer = b""
        with suppress(OSError):  # the gateway may have disconnected already
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65_536)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_client_that_leaves_in_the_middle_of_its_body_does_no_harm(mesh: Mesh) -> None:
    gateway = urlsplit(mesh.gateway)
    for _ in range(20):
        with socket.create_connection((gateway.hostname, gateway.port), timeout=10) as connection:
            connection.sendall(b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
