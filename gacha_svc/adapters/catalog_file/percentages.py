"""Percent in the catalog file, whole parts per million in the models.

The model's field `base_rate_ppm` is `base_rate` in the file. Percentages are read as decimals,
never as binary floating point, so 0.6 is exactly 6,000 ppm.
"""

import re

from gacha_svc.domain.field_types import Fault, Path

PPM = "_ppm"
_PERCENT_KEYS = frozenset({"base_rate", "step", "share"})
_PERCENT = re.compile(r"(100|\d{1,2})(?:\.(\d{1,4}))?", re.ASCII)


def as_written(path: Path, text: str) -> str | None:
    """The text of a percentage, unchanged, so that no digit is lost."""
    return text if path and path[-1] in _PERCENT_KEYS else None


def with_ppm(value: object, path: Path, faults: list[Fault]) -> object:
    """The value with its percentages in ppm, under the names of the models.

    An invalid percentage becomes None, which the models refuse. Adds a fault for each field that
    the file gives in ppm.
    """
    if isinstance(value, list):
        return [with_ppm(entry, (*path, i), faults) for i, entry in enumerate(value)]
    if not isinstance(value, dict):
        return value
    fields: dict[str, object] = {}
    for key, entry in value.items():
        if key in _PERCENT_KEYS:
            fields[key + PPM] = _ppm(entry)
        elif key.endswith(PPM):
            percent_key = key.removesuffix(PPM)
            reason = f"is not known here; write {percent_key}, in percent"
            faults.append(Fault((*path, key), reason))
        else:
            fields[key] = with_ppm(entry, (*path, key), faults)
    return fields


def _ppm(percentage: object) -> int | None:
    written = _PERCENT.fullmatch(percentage) if isinstance(percentage, str) else None
    if written is None:
        return None
    whole, decimals = written.groups(default="")
    return int(whole) * 10_000 + int(decimals.ljust(4, "0"))


def path_in_file(path: Path) -> Path:
    """The path in the file for a path in the models."""
    return tuple(_key_in_file(key) if isinstance(key, str) else key for key in path)


def _key_in_file(key: str) -> str:
    shortened = key.removesuffix(PPM)
    return shortened if shortened in _PERCENT_KEYS else key
