"""The bodies that the gateway reads, their size and their time limit."""

import pytest

from mesh.errors import (
    Overloaded,
)
from tests.unit.gateway.fakes import (
    FakeCaller,
)
from tests.unit.gateway.requests import TOKEN, ask, error_of


async def test_a_get_ignores_a_body() -> None:
    response = await ask(FakeCaller(), "GET", "/items", b"nonsense")
    assert response.status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "application/json;charset=UTF-8",
        'Application/JSON; Charset="utf-8"',
        "application/json; version=1",
    ],
)
async def test_json_is_taken_by_any_of_its_names(content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await ask(FakeCaller(), "POST", "/login", b"{}", headers=headers)
    assert response.status == 200


async def test_an_empty_body_needs_no_media_type() -> None:
    response = await ask(FakeCaller(), "POST", "/login", headers={"content-type": "text/plain"})
    assert response.status == 200


async def test_a_body_that_is_too_large_is_refused_where_a_body_is_read() -> None:
    caller = FakeCaller()
    refused = await ask(caller, "POST", "/login", is_too_large=True)
    assert (refused.status, error_of(refused)["reason"]) == (413, "REQUEST_TOO_LARGE")
    assert caller.calls == []
    assert (await ask(caller, "POST", "/nope", is_too_large=True)).status == 404
    assert (await ask(caller, "GET", "/items", is_too_large=True)).status == 413
    pull = await ask(caller, "GET", "/gacha/pull/standard", headers=TOKEN, is_too_large=True)
    assert (pull.status, caller.calls) == (413, [])


async def test_a_callers_own_deadline_counts_the_time_that_its_body_took() -> None:
    caller = FakeCaller()
    for headers, left_seconds in (({"grpc-timeout": "4S"}, 1.0), ({}, 5.0)):
        headers = {**TOKEN, **headers}
        await ask(caller, "POST", "/logout", b"{}", headers=headers, waited_seconds=3.0)
        assert caller.calls[-1].remaining_seconds == pytest.approx(left_seconds, abs=0.2)


async def test_overload_is_refused_before_the_body_is_parsed() -> None:
    caller = FakeCaller(refusal=Overloaded("Come back.", retry_after_seconds=1.2))
    answer = await ask(caller, "POST", "/login", b"not even JSON")
    assert (answer.status, answer.headers["retry-after"]) == (429, "2")
    assert error_of(answer)["reason"] == "OVERLOADED"
    assert caller.calls == []
