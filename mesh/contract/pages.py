"""Pages of a list (AIP-158). A page token holds the last key of the previous page."""

from mesh.contract.field_checks import check_each
from mesh.errors import InvalidArgument

MAX_KEY_DIGITS = 15


def checked_page(
    page_size: int, page_token: str, *, default: int, maximum: int
) -> tuple[int, int | None]:
    """The page size to use, and the key after which the page begins (None for the first page).

    Raises InvalidArgument naming page_size, page_token or both.
    """
    size, key = check_each(
        lambda: checked_page_size(page_size, default=default, maximum=maximum),
        lambda: key_of(page_token),
    )
    return size, key


def checked_page_size(page_size: int, *, default: int, maximum: int) -> int:
    """The page size to use; 0 means the default. Raises InvalidArgument naming page_size."""
    if page_size == 0:
        return default
    if not 1 <= page_size <= maximum:
        raise InvalidArgument.of_field("page_size", f"must be 1 to {maximum}, or 0 for {default}")
    return page_size


def key_of(page_token: str) -> int | None:
    """The key after which the page begins; None for the first page.

    Raises InvalidArgument naming page_token.
    """
    if not page_token:
        return None
    if page_token.isascii() and page_token.isdigit() and len(page_token) <= MAX_KEY_DIGITS:
        return int(page_token)
    raise InvalidArgument.of_field("page_token", "must be the next_page_token of a previous page")
