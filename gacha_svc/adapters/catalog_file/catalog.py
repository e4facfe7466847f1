"""Reads the catalog file that designers write.

The file is the YAML form of `Catalog`, with one difference: a field in parts per million
(`base_rate_ppm`) is written in percent and without that suffix (`base_rate: 0.6`).

No fault is corrected silently. Unknown, repeated and contradictory fields are refused. All
detectable faults are reported at once, each with its line.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gacha_svc.adapters.catalog_file.fault_lines import faults_of, lines_of
from gacha_svc.adapters.catalog_file.percentages import as_written, path_in_file, with_ppm
from gacha_svc.adapters.catalog_file.yaml_tree import UnreadableYaml, read_yaml
from gacha_svc.domain.banners import Banner, Item
from gacha_svc.domain.catalog import Catalog, catalog_faults
from gacha_svc.domain.errors import InvalidCatalog
from gacha_svc.domain.field_types import Fault

MAX_CATALOG_BYTES = 256 * 1024
"""Some thousands of items, read in about two seconds."""

Entry = TypeVar("Entry", bound=BaseModel)


def read_catalog(path: Path) -> Catalog:
    """Reads the catalog from a file; blocks. Raises InvalidCatalog, see `parse_catalog`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidCatalog(
            [f"{path} cannot be read ({error.strerror}); set GACHA_CATALOG_FILE to a file"]
        ) from error
    return parse_catalog(content, path.name)


def parse_catalog(text: str | bytes, name: str) -> Catalog:
    """Reads the catalog from the content of the file `name`.

    Raises InvalidCatalog. Its message has a line "<name>:<line>: <reason and remedy>" for each
    fault, up to a bound. The content is at most MAX_CATALOG_BYTES of UTF-8.
    """
    try:
        tree = read_yaml(_decode(text), as_written)
    except UnreadableYaml as error:
        raise InvalidCatalog([f"{name}:{error.line}: the file {error.reason}"]) from error
    faults = list(tree.faults)
    root = with_ppm(tree.root, (), faults)
    if not isinstance(root, dict):
        raise InvalidCatalog([f"{name}:1: the file must be a mapping with items and banners"])
    try:
        catalog = Catalog.model_validate_json(json.dumps(root), strict=True)
    except ValidationError as error:
        faults += faults_of(error)
        faults += _faults_between_the_sound(root)
    if faults:
        raise InvalidCatalog(lines_of(name, tree, faults))
    return catalog


def _decode(content: str | bytes) -> str:
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    if len(content) > MAX_CATALOG_BYTES:
        raise UnreadableYaml(1, f"is larger than {MAX_CATALOG_BYTES} bytes; shorten it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableYaml(line, "is not UTF-8; save the file in that encoding") from error


def _faults_between_the_sound(root: dict[str, object]) -> Iterator[Fault]:
    """Faults between entries that are each valid.

    The models stop at an invalid entry. While an item is invalid, references from banners cannot
    be checked, because they may mean that item.
    """
    items, banners = root.get("items"), root.get("banners")
    if isinstance(items, list) and isinstance(banners, list):
        sound_items = _sound(items, Item)
        if len(sound_items) == len(items):
            for path, reason in catalog_faults(sound_items, _sound(banners, Banner)):
                yield Fault(path_in_file(path), reason)


def _sound(entries: list[object], model: type[Entry]) -> dict[int, Entry]:
    """The valid entries, by position."""
    sound: dict[int, Entry] = {}
    for position, entry in enumerate(entries):
        with suppress(ValidationError):
            sound[position] = model.model_validate_json(json.dumps(entry), strict=True)
    return sound
