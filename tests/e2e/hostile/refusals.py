"""What every error of REST has in common."""

from typing import Any

import httpx


def refusal(response: httpx.Response, status: int, code: str, reason: str) -> dict[str, Any]:
    """The error's JSON, after a look at everything that all of them have."""
    error: dict[str, Any] = response.json()
    assert (response.status_code, error["code"], error["reason"]) == (status, code, reason), error
    assert set(error) - {"fields"} == {"status", "message", "code", "reason", "requestId"}
    assert error["status"] == "error"
    assert error["requestId"] == response.headers["x-request-id"]
    assert response.headers["content-type"] == "application/json"
    return error
