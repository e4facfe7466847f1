"""What the handlers share: bodies, queries and answers as JSON."""

from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from payment_sandbox.domain import MAX_PAGE_SIZE, BadRequest
from payment_sandbox.messages import Json
from payment_sandbox.storage.book import Page

Body = TypeVar("Body", bound=BaseModel)


class PageQuery(BaseModel):
    """The query of a list: numbers above `after`, made in [since, until) in Unix seconds."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, ge=0, lt=2**63)
    limit: int = Field(100, ge=1, le=MAX_PAGE_SIZE)
    since: int = Field(0, ge=0, lt=2**53)
    until: int = Field(2**53, ge=0, le=2**53)

    def page(self) -> Page:
        return Page(self.after, self.limit, self.since, self.until)


def idempotency_key(request: web.Request) -> str:
    """The key, or an empty string."""
    return request.headers.get("Idempotency-Key", "")


async def read_body(request: web.Request, kind: type[Body]) -> Body:
    """The body, where no body is an empty object. Raises BadRequest."""
    raw = await request.read()
    try:
        return kind.model_validate_json(raw or b"{}")
    except ValidationError as error:
        raise _bad_request(error) from None


def read_query(request: web.Request, kind: type[Body]) -> Body:
    """The query. Raises BadRequest."""
    try:
        return kind.model_validate(dict(request.query))
    except ValidationError as error:
        raise _bad_request(error) from None


def answer_json(body: Json, status: int = 200) -> web.Response:
    """An answer with that body."""
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def answer_refusal(status: int, code: str, message: str, **more: object) -> web.Response:
    """An error's answer."""
    return answer_json({"error": {"code": code, "message": message}, **more}, status)


def _bad_request(error: ValidationError) -> BadRequest:
    """Every fault, with the field's name."""
    return BadRequest(
        "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}"
            for fault in error.errors()
        )
    )
