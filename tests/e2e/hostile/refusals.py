"""What every error of REST has in common."""

from typing import Any

import httpx


def without_ids(error: dict[str, Any]) -> dict[str, Any]:
    """An error's JSON without what is another for every request."""
    ids = ("requestId", "traceId", "idempotencyKey")
    return {name: value for name, value in error.items() if name not in ids}


def refusal(response: httpx.Response, status: int, code: str, reason: str) -> dict[str, Any]:
    """The error's JSON, after a look at everything that all of them have."""
    error: dict[str, Any] = response.json()
    assert (response.status_code, error["code"], error["reason"]) == (status, code, reason), error
    always = {"status", "message", "code", "reason", "requestId", "traceId"}
    assert set(error) - {"fields", "idempotencyKey"} == always
    assert ("idempotencyKey" in error) == ("idempotency-key" in response.headers)
    assert error["status"] == "error"
    assert error["requestId"] == response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/json"
    return error
