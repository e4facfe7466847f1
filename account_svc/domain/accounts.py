"""Players: their rules and their errors."""

import re
from dataclasses import dataclass, field
from typing import Protocol

from email_validator import EmailNotValidError, validate_email

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
MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_LENGTH = 128

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
    """A player to register. Username and email are each unique, ignoring case."""

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
    """A registered player, with the password's hash and the operation that last changed it."""

    user_id: str
    username: str
    email: str
    password_hash: str = field(repr=False)
    password_change_id: str | None


class PasswordHashing(Protocol):
    """The port to password hashing. Every method may raise Overloaded; then no password was
    checked."""

    async def hash(self, password: str) -> str:
        """The salted hash to store."""
        ...

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password matches the hash. Without a hash: False, after the same work."""
        ...


def checked_registration(username: str, password: str, email: str) -> NewPlayer:
    """The player to register. Raises InvalidArgument naming every field that is wrong."""
    _, _, normalized = check_each(
        lambda: _check_new_username(username),
        lambda: check_password(password),
        lambda: _normalized_email(email),
    )
    return NewPlayer(username, normalized)


def _check_new_username(username: str) -> None:
    if not _USERNAME.fullmatch(username):
        raise InvalidArgument.of_field(
            "username", "must be 3 to 64 characters of A-Z, a-z, 0-9, '_', '-' and '.'"
        )


def _normalized_email(email: str) -> str:
    """Raises InvalidArgument naming email."""
    if not email or len(email) > MAX_EMAIL_LENGTH or "\0" in email:
        raise InvalidArgument.of_field("email", f"must be 1 to {MAX_EMAIL_LENGTH} characters")
    try:
        # Names under .test are accepted, because they are reserved for tests (RFC 2606).
        address = validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidArgument.of_field("email", f"must be an email address: {error}") from error
    return address.normalized


def check_password(password: str, name: str = "password") -> None:
    """Raises InvalidArgument naming the field `name`."""
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH or "\0" in password:
        raise InvalidArgument.of_field(
            name,
            f"must be {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters, none of them NUL",
        )


def check_login(username: str, password: str) -> None:
    """Raises InvalidArgument naming every field that no player can have."""
    check_each(lambda: _check_username(username), lambda: check_given_password(password))


def _check_username(username: str) -> None:
    if not username or len(username) > MAX_EMAIL_LENGTH or "\0" in username:
        raise InvalidArgument.of_field("username", f"must be 1 to {MAX_EMAIL_LENGTH} characters")


def check_given_password(password: str, name: str = "password") -> None:
    """Raises InvalidArgument naming the field `name` for what cannot be a player's password."""
    if not password or len(password) > MAX_PASSWORD_LENGTH or "\0" in password:
        raise InvalidArgument.of_field(name, f"must be 1 to {MAX_PASSWORD_LENGTH} characters")
