"""Rules of passwords, by NIST SP 800-63B-4, section 3.1.1.

- A password is normalised to NFC before it is checked, hashed or compared. So the same password
  typed on two systems, one of which composes `é` and the other does not, is one password.
- A new password is 8 to 128 characters, not among the common ones, and not the player's
  username or email. No kinds of characters are required.

The common passwords are the 30,000 most frequent ones of the library zxcvbn, which took them from
published breaches. They are compared ignoring case.
"""

from collections.abc import Callable
from unicodedata import normalize

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from mesh.contract.field_checks import check_each
from mesh.contract.idempotency import checked_key
from mesh.errors import FieldViolation, InvalidArgument, sentence_of

MIN_LENGTH = 8
MAX_LENGTH = 128
MAX_CODE_POINTS_UNCOMPOSED = 4 * MAX_LENGTH
"""Bounds the work of a normalisation."""

_COMMON = frozenset(
    password for password in FREQUENCY_LISTS["passwords"] if len(password) >= MIN_LENGTH
)


class PasswordUnchanged(InvalidArgument):
    """The new password is the current one; nothing has changed and no session has ended."""

    REASON = "PASSWORD_UNCHANGED"

    def __init__(self) -> None:
        violation = FieldViolation("new_password", "must not be the current password")
        super().__init__(
            sentence_of([violation]), metadata={"field": violation.field}, fields=(violation,)
        )


def is_common(password: str) -> bool:
    """Whether the password, ignoring case, is a common one."""
    return password.lower() in _COMMON


def checked_new_password(password: str, field: str = "password") -> str:
    """The password, normalised. Raises InvalidArgument naming `field` if no player may take it."""
    normalised = normalised_password(password)
    if normalised is None or len(normalised) < MIN_LENGTH:
        raise InvalidArgument.of_field(field, f"must be {MIN_LENGTH} to {MAX_LENGTH} characters")
    if is_common(normalised):
        raise InvalidArgument.of_field(
            field, "is one of the most common passwords; choose one that nobody else has"
        )
    return normalised


def check_not_a_name(password: str, username: str, email: str, field: str = "password") -> None:
    """Raises InvalidArgument naming `field` for a password that is the player's name."""
    if password.lower() in (username.lower(), email.lower()):
        raise InvalidArgument.of_field(field, "must be neither the username nor the email")


def checked_given_password(password: str, field: str = "password") -> str:
    """The password of an attempt, normalised. Raises InvalidArgument naming `field` for what
    cannot be a player's password."""
    normalised = normalised_password(password)
    if not normalised:
        raise InvalidArgument.of_field(field, f"must be 1 to {MAX_LENGTH} characters")
    return normalised


def checked_change(current_password: str, new_password: str, key: str) -> tuple[str, str, str]:
    """Both passwords, normalised, and the key. Whether the new password is a good one is only
    checked if the request is wrong anyway: a repeat is answered before that. Raises
    InvalidArgument naming every field that is wrong."""

    def check(check_new: Callable[[str, str], str]) -> tuple[str, str, str]:
        current, new, checked = check_each(
            lambda: checked_given_password(current_password, "current_password"),
            lambda: check_new(new_password, "new_password"),
            lambda: checked_key(key),
        )
        if new == current:
            raise PasswordUnchanged
        return current, new, checked

    try:
        return check(checked_given_password)
    except InvalidArgument:
        return check(checked_new_password)


def normalised_password(password: str) -> str | None:
    """The password in NFC; None for one that is too long."""
    if len(password) > MAX_CODE_POINTS_UNCOMPOSED:
        return None
    normalised = normalize("NFC", password)
    return normalised if len(normalised) <= MAX_LENGTH else None
