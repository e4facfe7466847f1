"""Pages of a list (AIP-158), each from the key where the one before ended."""

from mesh.errors import InvalidArgument

MAX_KEY_DIGITS = 15


def checked_page_size(page_size: int, *, default: int, maximum: int) -> int:
    """The size to give; 0 asks for the default. Raises InvalidArgument naming page_size."""
    if page_size == 0:
        return default
    if not 1 <= page_size <= maximum:
        raise InvalidArgument.of_field("page_size", f"must be 1 to {maximum}")
    return page_size


def key_of(page_token: str) -> int | None:
    """The key of the last row that the caller has; None for the first page.

    Raises InvalidArgument naming page_token.
    """
    if not page_token:
        return None
    if page_token.isascii() and page_token.isdigit() and len(page_token) <= MAX_KEY_DIGITS:
        return int(page_token)
    raise InvalidArgument.of_field("page_token", "must be the next_page_token of the page before")
