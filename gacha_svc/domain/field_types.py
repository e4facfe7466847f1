"""Shared parts of the catalog's models: field types, and the form of a fault.

A broken rule over several fields raises a pydantic error of the type FAULTS. Its context has
each fault with its place.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

CERTAIN_PPM = 1_000_000
"""A rate of 100 %."""
MAX_GEMS = 2**53 - 1
"""Amounts stay exact in every JSON reader."""
MAX_PITY_PULLS = 1_000
MAX_ITEMS = 10_000
MAX_BANNERS = 100
FAULTS = "faults"
"""The type of the pydantic error that has several faults."""

Entry = TypeVar("Entry")
Path = tuple[str | int, ...]
"""The path of fields and positions to a value."""


class Fault(NamedTuple):
    """A fault and its place. The reason continues a sentence after the place, with the remedy."""

    path: Path
    reason: str


def refuse(faults: Iterator[Fault]) -> None:
    """Raises the pydantic error FAULTS when there are any."""
    found = tuple(faults)
    if found:
        summary = "; ".join(fault.reason for fault in found[:10])
        raise PydanticCustomError(FAULTS, "{summary}", {"summary": summary, "faults": found})


def require_some(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Pydantic's own min_length would count only the entries that are right."""
    if not entries:
        raise PydanticCustomError("none_given", "must have at least one entry")
    return entries


def require_distinct(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """Also sorts them, because their order in the file must not matter."""
    repeated = sorted(number for number, times in Counter(numbers).items() if times > 1)
    if repeated:
        listed = ", ".join(map(str, repeated[:10]))
        raise PydanticCustomError("repeated", "must not repeat {listed}", {"listed": listed})
    return tuple(sorted(numbers))


def _require_visible_text(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise PydanticCustomError(
            "visible_text", "must be visible characters on one line, with no space at its ends"
        )
    return text


Slug = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_require_visible_text)]
Sentence = Annotated[
    str, Field(min_length=1, max_length=500), AfterValidator(_require_visible_text)
]
ItemId = Annotated[int, Field(ge=1, le=MAX_GEMS)]
ItemIds = Annotated[
    tuple[ItemId, ...], Field(max_length=MAX_ITEMS), AfterValidator(require_distinct)
]
PityPull = Annotated[int, Field(ge=1, le=MAX_PITY_PULLS)]
RatePpm = Annotated[int, Field(ge=0, le=CERTAIN_PPM)]


class Model(BaseModel):
    """An immutable value that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
