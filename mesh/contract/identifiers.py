"""Validation of UUIDs in requests."""

import re

from mesh.errors import InvalidArgument

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def checked_uuid(field: str, text: str) -> str:
    """The UUID in lower case. Raises InvalidArgument naming the field.

    Only the hyphenated form of RFC 9562 is accepted, so that two spellings of one UUID can
    differ only in case.
    """
    canonical = text.lower()
    if not _UUID.fullmatch(canonical):
        raise InvalidArgument.of_field(
            field, "must be a UUID, such as 7f1f4b0e-6a3b-4c53-9a38-0d1c6d1f2a10"
        )
    return canonical
