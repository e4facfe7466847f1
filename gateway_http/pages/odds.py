"""GET /odds: the odds of every banner, to read and to print; for other clients the same JSON as
GET /banners.

The page presents what the public methods answer; a new field is shown without a change here. Prices
in money come from GET /prices, for the fields that are gems.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway_http.caching.conditions import ETAG
from gateway_http.exchange import LimitClass, Request, Response
from gateway_http.pages.errors import error_page
from gateway_http.pages.html import VARY, html_response, inner, template, wants_html
from gateway_http.pages.values import Presenter, column_notes, gem_amounts
from gateway_http.transcoding.contracts import Contracts, Operation, UnsupportedContract
from gateway_http.transcoding.router import Router
from mesh.errors import MeshError
from protos.mesh.v1 import rules_pb2

BANNERS, PRICES = "/banners", "/prices"
AMOUNTS = "amounts"
"""The field of the prices' request that names what to price."""


class OddsPage:
    """The endpoint. Errors are a page too, for browsers."""

    limit_class = LimitClass.ADDRESS

    def __init__(self, router: Router, contracts: Contracts) -> None:
        """`router` has the routes of the contracts. Raises UnsupportedContract when the banners
        are not a list of messages, or prices cannot be had by amounts."""
        self._router = router
        self._comments = contracts.comments
        self._list = _list_in(_operation(contracts, BANNERS).response)
        self._priceable = _rules_of_amounts(_operation(contracts, PRICES).request)
        self._template = template("odds.html")
        self._rendered: tuple[tuple[bytes, bytes], Response] | None = None

    async def answer(self, request: Request) -> Response:
        """Raises MeshError for a client that wants no HTML."""
        if not wants_html(request.headers):
            banners = await self._get(request, BANNERS)
            # Conditional requests are for GET /banners; this answer has no tag.
            untagged = (each for each in banners.headers if each[0] != ETAG)
            return Response(200, banners.body, headers=[*VARY, *untagged])
        try:
            banners = await self._get(request, BANNERS)
        except MeshError as error:
            return error_page(error, request.ids)
        listed: Sequence[Mapping[str, Any]] = orjson.loads(banners.body)[self._list.json_name]
        prices = await self._prices(request, listed)
        if self._rendered is None or self._rendered[0] != (banners.body, prices):
            self._rendered = (banners.body, prices), self._page(listed, prices)
        return self._rendered[1]

    def _page(self, listed: Sequence[Mapping[str, Any]], prices: bytes) -> Response:
        known = orjson.loads(prices)
        currency = known["currency"]
        by_gems = {each["amount"]: f"{each['price']} {currency}" for each in known["prices"]}
        presenter = Presenter(self._comments, lambda gems: by_gems.get(gems, ""))
        message = self._message()
        sections = [presenter.section(message, each) for each in listed]
        values = {"sections": sections, "notes": column_notes(sections)}
        return html_response(200, self._template, values)

    def _message(self) -> Descriptor:
        message = self._list.message_type
        assert message is not None, "the list holds messages"
        return message

    async def _prices(self, request: Request, listed: Sequence[Mapping[str, Any]]) -> bytes:
        """The JSON of the prices of the gems on the page, as far as that many and amounts so large
        have prices; an empty list if they are not known."""
        message, rules = self._message(), self._priceable
        found = {gems for each in listed for gems in gem_amounts(message, each)}
        amounts = sorted(gems for gems in found if rules.minimum <= gems <= rules.maximum)
        query = urlencode([(AMOUNTS, each) for each in amounts[: rules.max_items]])
        try:
            return (await self._get(request, PRICES, query)).body if amounts else _NO_PRICES
        except MeshError:
            return _NO_PRICES

    async def _get(self, request: Request, path: str, query: str = "") -> Response:
        target, _ = self._router.match("GET", path)
        return await target.endpoint.answer(inner(request, path, query))


_NO_PRICES = b'{"prices":[],"currency":""}'


def _operation(contracts: Contracts, path: str) -> Operation:
    for operation in contracts.operations:
        if any((each.verb, each.template) == ("GET", path) for each in operation.bindings):
            return operation
    raise UnsupportedContract(f"GET {path} is missing, which GET /odds shows")


def _rules_of_amounts(request: Descriptor) -> rules_pb2.FieldRules:
    field = request.fields_by_name.get(AMOUNTS)
    if field is None:
        raise UnsupportedContract(f"{request.full_name} has no {AMOUNTS}")
    return field.GetOptions().Extensions[rules_pb2.rules]


def _list_in(message: Descriptor) -> FieldDescriptor:
    for field in message.fields:
        if field.is_repeated and field.message_type is not None:
            return field
    raise UnsupportedContract(f"{message.full_name} has no list of messages")
