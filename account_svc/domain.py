"""Players and wallets: their rules and their errors. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime

from email_validator import EmailNotValidError, validate_email

from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unauthenticated,
)

MAX_BALANCE_GEMS = 2**53 - 1
MAX_PURCHASE_GEMS = 1_000_000_000
MAX_EMAIL_LENGTH = 254
MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_LENGTH = 128
MAX_PAYMENT_METHOD_LENGTH = 64

PURCHASE = "purchase"
PULL = "pull"

INSUFFICIENT_CURRENCY = "INSUFFICIENT_CURRENCY"
USER_NOT_FOUND = "USER_NOT_FOUND"

_USERNAME = re.compile(r"[A-Za-z0-9_.-]{3,64}")


class UsernameTaken(AlreadyExists):
    REASON = "USERNAME_TAKEN"

    def __init__(self) -> None:
        super().__init__(
            "The username is taken; choose another one.", metadata={"field": "username"}
        )


class EmailTaken(AlreadyExists):
    REASON = "EMAIL_TAKEN"

    def __init__(self) -> None:
        super().__init__(
            "The email is registered already; log in, or use another one.",
            metadata={"field": "email"},
        )


class InvalidCredentials(Unauthenticated):
    REASON = "INVALID_CREDENTIALS"

    def __init__(self) -> None:
        super().__init__("The username or the password is wrong.")


class UserNotFound(NotFound):
    REASON = USER_NOT_FOUND

    def __init__(self) -> None:
        super().__init__("The player of this token does not exist here; register again.")


class BalanceLimit(FailedPrecondition):
    REASON = "BALANCE_LIMIT"

    def __init__(self) -> None:
        super().__init__(f"A wallet holds at most {MAX_BALANCE_GEMS} gems; spend some first.")


@dataclass(frozen=True, slots=True)
class NewPlayer:
    """Somebody who wants to register. Unique are the username and the email, without case."""

    username: str
    email: str

    @property
    def username_key(self) -> str:
        return self.username.lower()

    @property
    def email_key(self) -> str:
        return self.email.casefold()


@dataclass(frozen=True, slots=True)
class StoredPlayer:
    """A player as registered, with the hash of the password."""

    user_id: str
    username: str
    email: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class Purchase:
    """Gems bought once: `purchase_id` is the id of its ledger entry too."""

    purchase_id: str
    user_id: str
    amount_gems: int
    payment_method: str


@dataclass(frozen=True, slots=True)
class Debit:
    """The account's part of a pull."""

    user_id: str
    amount_gems: int


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """Gems gained, or lost when negative, by one operation."""

    operation_id: str
    user_id: str
    kind: str
    amount_gems: int


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A balance change that was recorded; `number` counts a player's entries from 1."""

    number: int
    operation_id: str
    kind: str
    amount_gems: int
    balance_after_gems: int
    created_at: datetime


def checked_player(username: str, email: str) -> NewPlayer:
    """Raises InvalidArgument naming the field that is wrong."""
    if not _USERNAME.fullmatch(username):
        raise InvalidArgument.of_field(
            "username", "must be 3 to 64 characters of A-Z, a-z, 0-9, '_', '-' and '.'"
        )
    if not email or len(email) > MAX_EMAIL_LENGTH or "\0" in email:
        raise InvalidArgument.of_field("email", f"must be 1 to {MAX_EMAIL_LENGTH} characters")
    try:
        # Names under .test are accepted, for they are what people try things with (RFC 2606).
        address = validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidArgument.of_field("email", f"must be an email address: {error}") from error
    return NewPlayer(username, address.normalized)


def check_password(password: str) -> None:
    """Raises InvalidArgument naming password."""
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH or "\0" in password:
        raise InvalidArgument.of_field(
            "password",
            f"must be {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters, none of them NUL",
        )


def check_login(username: str, password: str) -> None:
    """Refuses what no player can have, naming the field. Raises InvalidArgument."""
    if not username or len(username) > MAX_EMAIL_LENGTH or "\0" in username:
        raise InvalidArgument.of_field("username", f"must be 1 to {MAX_EMAIL_LENGTH} characters")
    if not password or len(password) > MAX_PASSWORD_LENGTH or "\0" in password:
        raise InvalidArgument.of_field("password", f"must be 1 to {MAX_PASSWORD_LENGTH} characters")


def check_purchase(amount_gems: int, payment_method: str) -> None:
    """Raises InvalidArgument naming the field that is wrong."""
    if not 1 <= amount_gems <= MAX_PURCHASE_GEMS:
        raise InvalidArgument.of_field("amount", f"must be 1 to {MAX_PURCHASE_GEMS:,} whole gems")
    if (
        not 1 <= len(payment_method) <= MAX_PAYMENT_METHOD_LENGTH
        or not payment_method.isprintable()
    ):
        raise InvalidArgument.of_field(
            "payment_method",
            f"must be 1 to {MAX_PAYMENT_METHOD_LENGTH} printable characters, such as 'credit_card'",
        )
