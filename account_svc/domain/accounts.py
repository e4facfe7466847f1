"""Players: their rules and their errors."""

import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from email_validator import EmailNotValidError, validate_email

from account_svc.domain.hashing_queue import Urgency
from account_svc.domain.passwords import (
    check_not_a_name,
    checked_given_password,
    checked_new_password,
)
from mesh.contract.field_checks import check_each
from mesh.errors import (
    AlreadyExists,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)

MAX_EMAIL_LENGTH = 254

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
            "The email is already registered; log in, or use another one.",
            metadata={"field": "email"},
        )


class InvalidCredentials(Unauthenticated):
    REASON = "INVALID_CREDENTIALS"

    def __init__(self) -> None:
        super().__init__("The username or the password is wrong.")


class WrongPassword(PermissionDenied):
    """The player's token is valid, so this is not a 401: a client would refresh its token."""

    REASON = "WRONG_PASSWORD"

    def __init__(self) -> None:
        description = "is not the player's password"
        super().__init__(
            f"current_password {description}.",
            metadata={"field": "current_password"},
            fields=(FieldViolation("current_password", description),),
        )


class UserNotFound(NotFound):
    REASON = USER_NOT_FOUND

    def __init__(self) -> None:
        super().__init__("The player of this token does not exist here; register again.")


@dataclass(frozen=True, slots=True)
class NewPlayer:
    """A player to register. Username and email are each unique, ignoring case. `email` is
    normalised by the library: its domain has the form of IDNA, its local part is NFC."""

    username: str
    email: str

    @property
    def username_key(self) -> str:
        return self.username.lower()

    @property
    def email_key(self) -> str:
        # Not casefold(), which makes one of `ß` and `ss`: those are two mailboxes (RFC 5321, 2.4).
        return self.email.lower()


@dataclass(frozen=True, slots=True)
class Registration:
    """A request to register, without its password. `registration_id` names the key and the
    username in lower case."""

    registration_id: str
    username: str
    email: str

    @property
    def digest(self) -> bytes:
        """What a repeat of the request is recognized by."""
        return sha256(f"{self.username}\n{self.email}".encode()).digest()

    @property
    def guarded_name(self) -> str:
        """The name under which wrong passwords of repeats are counted. No player has it, because
        a username has no space."""
        return f"registration {self.registration_id}"


@dataclass(frozen=True, slots=True)
class StoredRegistration:
    """The player that a registration made. `first_password_hash` is None after the player has
    changed the password."""

    user_id: str
    digest: bytes
    first_password_hash: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredPlayer:
    """A registered player, with the password's hash and the operation that last changed it.
    `password_version` grows with each change of the password, and with nothing else."""

    user_id: str
    username: str
    email: str
    password_hash: str = field(repr=False)
    password_change_id: str | None
    password_version: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password is right. If it is and its stored hash has outdated parameters,
    `renewed_hash` is the hash to store in its place."""

    is_right: bool
    renewed_hash: str | None = field(default=None, repr=False)


class PasswordHashing(Protocol):
    """The port to password hashing. Hash and verify within a turn."""

    def admit(self, urgency: Urgency, address: str) -> AbstractAsyncContextManager[None]:
        """Waits for a turn of a client at that address. Raises HashingBusy."""
        ...

    async def hash(self, password: str) -> str:
        """The salted hash to store."""
        ...

    async def verify(self, password_hash: str | None, password: str) -> Verdict:
        """Whether the password matches the hash. Without a hash it is wrong, after the same
        work."""
        ...


def checked_registration(username: str, password: str, email: str) -> tuple[NewPlayer, str]:
    """The player to register, and the password, normalised. Raises InvalidArgument naming every
    field that is wrong."""
    _, normalised, address = check_each(
        lambda: _check_new_username(username),
        lambda: checked_new_password(password),
        lambda: _normalized_email(email),
    )
    check_not_a_name(normalised, username, address)
    return NewPlayer(username, address), normalised


def _check_new_username(username: str) -> None:
    if not _USERNAME.fullmatch(username):
        raise InvalidArgument.of_field(
            "username", "must be 3 to 64 characters of A-Z, a-z, 0-9, '_', '-' and '.'"
        )


def _normalized_email(email: str) -> str:
    """Raises InvalidArgument naming email."""
    wrong = InvalidArgument.of_field(
        "email",
        f"must be an email address of at most {MAX_EMAIL_LENGTH} characters, "
        "such as player_one@example.com",
    )
    if not email or len(email) > MAX_EMAIL_LENGTH:
        raise wrong
    try:
        # Names under .test are accepted, because they are reserved for tests (RFC 2606).
        address = validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise wrong from error
    return address.normalized


def checked_login(username: str, password: str) -> str:
    """The password, normalised. Raises InvalidArgument naming every field that no player can
    have."""
    _, normalised = check_each(
        lambda: _check_login_name(username), lambda: checked_given_password(password)
    )
    return str(normalised)


def _check_login_name(username: str) -> None:
    if not username or len(username) > MAX_EMAIL_LENGTH:
        raise InvalidArgument.of_field("username", f"must be 1 to {MAX_EMAIL_LENGTH} characters")
