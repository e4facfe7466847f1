"""Players, their passwords and their wallets."""

from collections.abc import Callable, Collection, Mapping
from uuid import uuid4

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import (
    InvalidCredentials,
    NewPlayer,
    PasswordHashing,
    StoredPlayer,
    UserNotFound,
    WrongPassword,
    check_given_password,
    check_login,
    check_password,
    checked_player,
)
from account_svc.domain.sessions import Ending, Session
from account_svc.domain.wallets import LedgerEntry, Wallet
from account_svc.storage import accounts as players
from account_svc.storage import sessions as sessions_storage
from account_svc.storage import wallets
from account_svc.use_cases.login_guard import LoginGuard
from account_svc.use_cases.sessions import Grant, Sessions
from mesh.contract.idempotency import IdempotencyKeyReused, checked_key, operation_id
from mesh.contract.pages import checked_page_size, key_of
from mesh.postgres.coalesced_reads import CoalescedRead
from mesh.postgres.database import Database

LEDGER_PAGE_SIZE = 50
MAX_LEDGER_PAGE_SIZE = 100
log = structlog.get_logger()


class Accounts:
    """Players and their wallets, over one database."""

    def __init__(
        self,
        database: Database,
        passwords: PasswordHashing,
        guard: LoginGuard,
        sessions: Sessions,
        *,
        new_user_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._guard = guard
        self._sessions = sessions
        self._new_user_id = new_user_id
        self._wallets = CoalescedRead(self._read_wallets)

    async def register(
        self, username: str, password: str, email: str, idempotency_key: str, address: str
    ) -> str:
        """Creates a player and returns the id. `address` is the client's address.

        Idempotent by `idempotency_key`. Raises InvalidArgument, UsernameTaken, EmailTaken,
        IdempotencyKeyReused. Raises LoginBackoff when the key was used before, because a repeat
        reveals whether its password is right.
        """
        player = checked_player(username, email)
        check_password(password)
        registration_id = operation_id("register", "", checked_key(idempotency_key))
        if idempotency_key:
            stored = await self._registered(registration_id, player, password, address)
            if stored is not None:
                return stored
        password_hash = await self._passwords.hash(password)
        user_id = self._new_user_id()
        is_new = await self._database.transaction(
            lambda cursor: players.insert_player(
                cursor, user_id, registration_id, player, password_hash
            )
        )
        if is_new:
            return user_id
        stored = await self._registered(registration_id, player, password, address)
        assert stored is not None, "a conflicting registration is stored"
        return stored

    async def login(self, username: str, password: str, address: str) -> Grant:
        """Starts a session of the player; `address` is the client's address. Not idempotent: a
        repeat starts another session.

        Raises InvalidArgument, InvalidCredentials, LoginBackoff.
        """
        check_login(username, password)
        player = await self._database.autocommit(
            lambda cursor: players.find_player_by_username(cursor, username.lower())
        )
        is_right = await self._is_password_of(player, password, username, address)
        if not is_right or player is None:
            raise InvalidCredentials
        grant = await self._begin_session(player)
        if grant is None:
            raise InvalidCredentials
        return grant

    async def change_password(
        self,
        user_id: str,
        current_password: str,
        new_password: str,
        idempotency_key: str,
        address: str,
    ) -> Grant:
        """Replaces the password, ends every session of the player, and starts a new one.
        `address` is the client's address.

        Idempotent by `idempotency_key`: a repeat of the last change starts one more session.
        Raises InvalidArgument, WrongPassword, IdempotencyKeyReused, UserNotFound, LoginBackoff.
        """
        check_given_password(current_password, "current_password")
        check_password(new_password, "new_password")
        change_id = operation_id("change_password", user_id, checked_key(idempotency_key))
        player = await self._player(user_id)
        if player.password_change_id == change_id:
            return await self._repeat_change(player, new_password, address)
        if not await self._is_password_of(player, current_password, player.username, address):
            raise WrongPassword
        password_hash = await self._passwords.hash(new_password)
        session, first = self._sessions.new(user_id)
        is_changed = await self._database.transaction(
            lambda cursor: _replace_password(cursor, player, change_id, password_hash, session)
        )
        if not is_changed:
            player = await self._player(user_id)
            if player.password_change_id != change_id:
                raise WrongPassword
            return await self._repeat_change(player, new_password, address)
        log.info("change_password", user_id=user_id)
        return self._sessions.grant(session, first)

    async def wallet(self, user_id: str) -> Wallet:
        """Gems that the player owns or owes. Raises UserNotFound."""
        wallet = await self._wallets.get(user_id)
        if wallet is None:
            raise UserNotFound
        return wallet

    async def ledger(
        self, user_id: str, page_size: int, page_token: str
    ) -> tuple[list[LedgerEntry], str]:
        """A page of the player's entries, newest first, and the token of the next page."""
        size = checked_page_size(page_size, default=LEDGER_PAGE_SIZE, maximum=MAX_LEDGER_PAGE_SIZE)
        before = key_of(page_token)
        entries = await self._database.autocommit(
            lambda cursor: wallets.list_ledger(cursor, user_id, before, size + 1)
        )
        page = entries[:size]
        return page, str(page[-1].number) if len(entries) > size else ""

    async def _player(self, user_id: str) -> StoredPlayer:
        """Raises UserNotFound."""
        player = await self._database.autocommit(
            lambda cursor: players.find_player(cursor, user_id)
        )
        if player is None:
            raise UserNotFound
        return player

    async def _is_password_of(
        self, player: StoredPlayer | None, password: str, username: str, address: str
    ) -> bool:
        """Whether the password is right. Every check of a password goes through here, and waits
        after failures. An unknown player costs the same work. Raises LoginBackoff, Overloaded."""
        password_hash = player.password_hash if player else None
        return await self._guard.attempt(
            username, address, lambda: self._passwords.verify(password_hash, password)
        )

    async def _begin_session(self, player: StoredPlayer) -> Grant | None:
        """Starts a session. None when the password was changed since the player was read, so
        that a login with the old password starts no session."""
        session, first = self._sessions.new(player.user_id)

        def begin(cursor: Cursor) -> bool:
            if not _still_has_password(cursor, player):
                return False
            sessions_storage.insert_session(cursor, session)
            return True

        is_begun = await self._database.transaction(begin)
        return self._sessions.grant(session, first) if is_begun else None

    async def _repeat_change(self, player: StoredPlayer, new_password: str, address: str) -> Grant:
        """Starts a session for a repeat of the player's last password change."""
        if not await self._is_password_of(player, new_password, player.username, address):
            raise IdempotencyKeyReused
        grant = await self._begin_session(player)
        if grant is None:
            raise WrongPassword
        return grant

    async def _registered(
        self, registration_id: str, player: NewPlayer, password: str, address: str
    ) -> str | None:
        """The id of the player that this registration made before, if any."""
        stored = await self._database.autocommit(
            lambda cursor: players.find_player_by_registration(cursor, registration_id)
        )
        if stored is None:
            return None
        is_same = (stored.username, stored.email) == (player.username, player.email)
        is_right = await self._is_password_of(stored, password, stored.username, address)
        if not is_right or not is_same:
            raise IdempotencyKeyReused
        return stored.user_id

    async def _read_wallets(self, user_ids: Collection[str]) -> Mapping[str, Wallet]:
        return await self._database.autocommit(
            lambda cursor: wallets.find_wallets(cursor, user_ids)
        )


def _replace_password(
    cursor: Cursor, player: StoredPlayer, change_id: str, password_hash: str, session: Session
) -> bool:
    """Stores the password, ends every session of the player and starts this one. False, without
    any change, when the password was changed since the player was read."""
    if not _still_has_password(cursor, player):
        return False
    players.update_password(cursor, player.user_id, change_id, password_hash)
    sessions_storage.end_sessions(
        cursor, player.user_id, Ending.PASSWORD_CHANGED, session.created_at
    )
    sessions_storage.insert_session(cursor, session)
    return True


def _still_has_password(cursor: Cursor, player: StoredPlayer) -> bool:
    """Whether the password is unchanged since the player was read. Locks it until the
    transaction ends."""
    stands = players.lock_player(cursor, player.user_id)
    return stands is not None and stands.password_hash == player.password_hash
