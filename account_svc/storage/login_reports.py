"""Reports of failed logins for operators, from the account database.

Only digests of names and addresses are stored: an account is found by its name, and addresses
are never shown. Every function runs in the caller's transaction, by its cursor.
"""

from dataclasses import dataclass
from datetime import datetime

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)


@dataclass(frozen=True, slots=True)
class FailedSubjects:
    """How many subjects of a kind failed in the last hour, and the most failures of one.

    `kind` is account (at new addresses), pair (an account at a known address) or address.
    """

    kind: str
    subject_count: int
    most_failures: int


@dataclass(frozen=True, slots=True)
class AccountFailures:
    """The failures of one account, at new addresses or at one known address. A time is None
    for never."""

    kind: str
    failure_count: int
    last_failed_at: datetime | None
    known_until: datetime | None


def summary(cursor: Cursor) -> list[FailedSubjects]:
    """One entry for each kind that has failures."""
    cursor.execute("SELECT kind, subject_count, most_failures FROM failed_logins()")
    return [FailedSubjects(*row) for row in cursor.fetchall()]


def failures_of(cursor: Cursor, username: str) -> list[AccountFailures]:
    """The account's failures; empty if it has neither failed nor logged in lately. Ignores the
    case of the username."""
    cursor.execute(
        """
        SELECT kind, failure_count, date_trunc('second', last_failed_at),
            date_trunc('second', known_until)
        FROM login_attempts_of(%s)
        """,
        (username,),
    )
    return [AccountFailures(*row) for row in cursor.fetchall()]


def forgive(cursor: Cursor, username: str) -> int:
    """Clears the account's failures, so that it can log in at once; returns how many of its
    subjects had failures. Idempotent."""
    cursor.execute("SELECT forgive_login_attempts(%s)", (username,))
    ((forgiven_count,),) = cursor.fetchall()
    return int(forgiven_count)
