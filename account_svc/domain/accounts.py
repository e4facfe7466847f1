"""Players: their rules and their errors."""

import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from email_validator import EmailNotValidError, validate_email

from account_svc.domain.hashing_queue import Urgency
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


def checked_player(username: str, email: str) -> NewPlayer:
    """Raises InvalidArgument naming the field that is wrong."""
    if not _USERNAME.fullmatch(username):
        raise InvalidArgument.of_field(
            "username", "must be 3 to 64 characters of A-Z, a-z, 0-9, '_', '-' and '.'"
        )
    if not email or len(email) > MAX_EMAIL_LENGTH or "\0" in email:
        raise InvalidArgument.of_field("email", f"must be 1 to {MAX_EMAIL_LENGTH} characters")
    try:
        # Names under .test are accepted, because they are reserved for tests (RFC 2606).
        address = validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidArgument.of_field("email", f"must be an email address: {error}") from error
    return NewPlayer(username, address.normalized)


def check_login_name(username: str) -> None:
    """Raises InvalidArgument for a username that no player can have."""
    if not username or len(username) > MAX_EMAIL_LENGTH or "\0" in username:
        raise InvalidArgument.of_field("username", f"must be 1 to {MAX_EMAIL_LENGTH} characters")
