"""Players in the account database. Every function runs in the caller's transaction, by its
cursor."""

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import (
    EmailTaken,
    NewPlayer,
    Registration,
    StoredPlayer,
    StoredRegistration,
    UsernameTaken,
)
from mesh.postgres.database import UNIQUE_VIOLATION

_SELECT = """
    SELECT user_id, username, email, password_hash, password_change_id, password_version FROM player
"""
"""The columns that `_player` reads."""
_TAKEN = {"player_username_unique": UsernameTaken, "player_email_unique": EmailTaken}


def insert_player(
    cursor: Cursor, user_id: str, request: Registration, player: NewPlayer, password_hash: str
) -> bool:
    """Adds a player with an empty wallet; False when this registration was made before.

    Raises UsernameTaken and EmailTaken; the transaction has failed then.
    """
    try:
        cursor.execute(
            """
            INSERT INTO player
                (user_id, username, username_key, email, email_key, password_hash,
                 registration_id, registration_digest)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (registration_id) DO NOTHING RETURNING user_id
            """,
            (
                user_id,
                player.username,
                player.username_key,
                player.email,
                player.email_key,
                password_hash,
                request.registration_id,
                request.digest,
            ),
        )
    except psycopg2.Error as error:
        taken = _TAKEN.get(error.diag.constraint_name or "")
        if error.pgcode == UNIQUE_VIOLATION and taken is not None:
            raise taken() from error
        raise
    if cursor.fetchone() is None:
        return False
    cursor.execute("INSERT INTO wallet (user_id) VALUES (%s)", (user_id,))
    return True


def find_registration(cursor: Cursor, registration_id: str) -> StoredRegistration | None:
    """The registration of that id, if it made a player."""
    cursor.execute(
        """
        SELECT user_id::text, registration_digest,
               CASE WHEN password_change_id IS NULL THEN password_hash END
        FROM player WHERE registration_id = %s
        """,
        (registration_id,),
    )
    row = cursor.fetchone()
    return None if row is None else StoredRegistration(row[0], bytes(row[1]), row[2])


def find_player_by_username(cursor: Cursor, username_key: str) -> StoredPlayer | None:
    """The player of that name, lower-cased."""
    cursor.execute(f"{_SELECT} WHERE username_key = %s", (username_key,))
    return _player(cursor)


def find_player(cursor: Cursor, user_id: str) -> StoredPlayer | None:
    """The player of that id."""
    cursor.execute(f"{_SELECT} WHERE user_id = %s", (user_id,))
    return _player(cursor)


def lock_player(cursor: Cursor, user_id: str) -> StoredPlayer | None:
    """The player, locked: no other transaction changes the password or adds sessions until
    this one ends."""
    cursor.execute(f"{_SELECT} WHERE user_id = %s FOR NO KEY UPDATE", (user_id,))
    return _player(cursor)


def update_password(cursor: Cursor, user_id: str, change_id: str, password_hash: str) -> None:
    """Changes the player's password; `change_id` is the id of the operation."""
    cursor.execute(
        """
        UPDATE player SET
            password_hash = %s, password_change_id = %s, password_version = password_version + 1
        WHERE user_id = %s
        """,
        (password_hash, change_id, user_id),
    )


def renew_password_hash(cursor: Cursor, user_id: str, password_hash: str) -> None:
    """Stores another hash of the same password. The caller has locked the player and found the
    password unchanged."""
    cursor.execute(
        "UPDATE player SET password_hash = %s WHERE user_id = %s", (password_hash, user_id)
    )


def _player(cursor: Cursor) -> StoredPlayer | None:
    row = cursor.fetchone()
    if row is None:
        return None
    user_id, username, email, password_hash, change_id, version = row
    return StoredPlayer(
        str(user_id),
        username,
        email,
        password_hash,
        None if change_id is None else str(change_id),
        version,
    )
