"""Checks the common parts of every REST error."""

from typing import Any

import httpx


def without_ids(error: dict[str, Any]) -> dict[str, Any]:
    """An error's JSON without its ids, which differ for every request."""
    ids = ("requestId", "traceId", "idempotencyKey")
    return {name: value for name, value in error.items() if name not in ids}


def refusal(response: httpx.Response, status: int, code: str, reason: str) -> dict[str, Any]:
    """The error's JSON, after checks of its common parts."""
    error: dict[str, Any] = response.json()
    assert (response.status_code, error["code"], error["reason"]) == (status, code, reason), error
    always = {"status", "message", "code", "reason", "requestId", "traceId"}
    assert set(error) - {"fields", "details", "idempotencyKey"} == always
    assert ("idempotencyKey" in error) == ("idempotency-key" in response.headers)
    assert error["status"] == "error"
    assert error["requestId"] == response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/json"
    return error
