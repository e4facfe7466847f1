"""The faults of a catalog file as sentences with line numbers, for game designers."""

import re
from collections.abc import Iterable, Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gacha_svc.adapters.catalog_file.percentages import PPM, path_in_file
from gacha_svc.adapters.catalog_file.yaml_tree import YamlTree
from gacha_svc.domain.field_types import FAULTS, Fault, Path

MAX_FAULTS = 50

_SUBJECT = re.compile(r"^(Input|String|Tuple) should ")
_FILE_WORDS = {
    "an object": "a mapping",
    "a valid array": "a list",
    "a valid string": "text",
    " after validation": "",
}
_JSON_WORDS = re.compile("|".join(_FILE_WORDS))


def lines_of(name: str, tree: YamlTree, faults: Iterable[Fault]) -> list[str]:
    """The faults as "<name>:<line>: <field> <reason>", in the order of the file."""
    lines = sorted({(tree.line_of(path), f"{_label(path)} {reason}") for path, reason in faults})
    shown = [f"{name}:{line}: {sentence}" for line, sentence in lines[:MAX_FAULTS]]
    if len(lines) > MAX_FAULTS:
        shown.append(f"{name}: and {len(lines) - MAX_FAULTS} more; correct these first")
    return shown


def _label(path: Path) -> str:
    """The field as designers would write it: banners[1].rules[0].base_rate."""
    label = "".join(
        f"[{key}]" if isinstance(key, int) else "." + ascii(key)[1:-1][:60] for key in path
    )
    return label.removeprefix(".") or "the file"


def faults_of(refusal: ValidationError) -> Iterator[Fault]:
    """All faults that the models found, each with its place in the file."""
    for error in refusal.errors(include_url=False):
        path = error["loc"]
        if error["type"] == FAULTS:
            for fault in error["ctx"]["faults"]:
                yield Fault(path_in_file((*path, *fault.path)), fault.reason)
        else:
            yield Fault(path_in_file(path), _reason_of(error))


def _reason_of(error: ErrorDetails) -> str:
    """The reason in terms of the file; pydantic's own message where it is clear enough."""
    kind, limits = error["type"], error.get("ctx", {})
    if kind == "missing":
        return "is missing; add it"
    if kind == "extra_forbidden":
        return "is not known here; correct its spelling, or remove it"
    if kind == "string_pattern_mismatch":
        return "must be 1 to 40 characters of a to z, 0 to 9 and -"
    if str(error["loc"][-1]).endswith(PPM):
        if kind == "greater_than_equal":
            return f"must be at least {limits['ge'] / 10_000:.4g} percent"
        return "must be a percentage from 0 to 100 with at most 4 decimals, such as 0.6"
    reason = _SUBJECT.sub("must ", error["msg"])
    return _JSON_WORDS.sub(lambda found: _FILE_WORDS[found[0]], reason)
