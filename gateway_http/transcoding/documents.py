"""Parses a request's body as a JSON object.

Guarantees: the bytes are valid UTF-8 JSON (RFC 8259) with no lone surrogates, no
name occurs twice in an object, and objects and arrays nest at most DEEPEST levels.
"""

import json
from typing import Any

import orjson

from mesh.errors import InvalidArgument

DEEPEST = 32


class MalformedBody(InvalidArgument):
    """The body is not a JSON object."""

    REASON = "MALFORMED_BODY"


def parse_object(body: bytes) -> dict[str, Any]:
    """The object in a body; an empty body is an empty object. Raises MalformedBody."""
    if not body:
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        document = _with_endless_numbers(body, error)
    if document.__class__ is not dict:
        raise MalformedBody('The body must be a JSON object, such as {"amount": 100}.')
    # orjson drops repeated names. A colon follows every name, so if there are no more colons
    # than names left, none was dropped. More colons may be in strings: then the slow parser
    # decides.
    if body.count(b":") != _count_names(document, DEEPEST):
        json.loads(body, object_pairs_hook=_refuse_twins, parse_int=str)
    return document


def _with_endless_numbers(body: bytes, error: orjson.JSONDecodeError) -> Any:
    """Parses a document with a number beyond the range of floats, which orjson refuses.

    Such a document is valid JSON. The field's reader refuses the number and names the field.
    """
    malformed = MalformedBody(f"The body is not valid JSON: {error}.")

    def refuse(_literal: str) -> Any:
        raise malformed

    try:
        document = json.loads(body, parse_int=float, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise malformed from None
    if "infinity" not in str(error):
        raise malformed
    return document


def _count_names(value: Any, levels_left: int) -> int:
    if levels_left == 0:
        raise MalformedBody(f"The body must not nest more than {DEEPEST} levels deep.")
    if value.__class__ is dict:
        count = len(value)
        value = value.values()
    else:
        count = 0
    for item in value:
        if item.__class__ is dict or item.__class__ is list:
            count += _count_names(item, levels_left - 1)
    return count


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise MalformedBody.of_field(name, "must be given once")
        result[name] = value
    return result
