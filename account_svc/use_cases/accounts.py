"""Players, their passwords and their wallets."""

from collections.abc import Callable, Collection, Mapping
from uuid import uuid4

import structlog
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.accounts import (
    InvalidCredentials,
    PasswordHashing,
    Registration,
    StoredPlayer,
    UserNotFound,
    Verdict,
    WrongPassword,
    checked_login,
    checked_registration,
)
from account_svc.domain.hashing_queue import Urgency
from account_svc.domain.passwords import (
    check_not_a_name,
    checked_change,
    checked_new_password,
    normalised_password,
)
from account_svc.domain.sessions import Ending, Session
from account_svc.domain.wallets import LedgerEntry, Wallet
from account_svc.storage import accounts as players
from account_svc.storage import sessions as sessions_storage
from account_svc.storage import wallets
from account_svc.use_cases.login_guard import LoginGuard
from account_svc.use_cases.sessions import Grant, Sessions
from mesh.contract.field_checks import check_each
from mesh.contract.idempotency import (
    IdempotencyKeyReused,
    checked_key,
    is_fit_key,
    operation_id,
)
from mesh.contract.pages import checked_page
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

        Idempotent by `idempotency_key` and username: a repeat is answered before any other check.
        The same key with another name is another registration. Raises InvalidArgument,
        UsernameTaken, EmailTaken, IdempotencyKeyReused. Raises LoginBackoff after repeats with
        wrong passwords, which count for the key and not for the player.
        """
        given = normalised_password(password)
        if given is not None and is_fit_key(idempotency_key):
            stored = await self._registered(
                _registration(username, email, idempotency_key), given, address
            )
            if stored is not None:
                return stored
        (player, new_password), key = check_each(
            lambda: checked_registration(username, password, email),
            lambda: checked_key(idempotency_key),
        )
        request = _registration(username, email, key)
        async with self._passwords.admit(Urgency.REGISTRATION, address):
            password_hash = await self._passwords.hash(new_password)
        user_id = self._new_user_id()
        is_new = await self._database.transaction(
            lambda cursor: players.insert_player(cursor, user_id, request, player, password_hash)
        )
        if is_new:
            return user_id
        stored = await self._registered(request, new_password, address)
        assert stored is not None, "a conflicting registration is stored"
        return stored

    async def login(self, username: str, password: str, address: str) -> Grant:
        """Starts a session of the player; `address` is the client's address. Not idempotent: a
        repeat starts another session.

        Raises InvalidArgument, InvalidCredentials, LoginBackoff.
        """
        password = checked_login(username, password)
        player = await self._database.autocommit(
            lambda cursor: players.find_player_by_username(cursor, username.lower())
        )
        verdict = await self._judge(player, password, username, address)
        if not verdict.is_right or player is None:
            raise InvalidCredentials
        grant = await self._begin_session(player, verdict.renewed_hash)
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
        current_password, given_password, key = checked_change(
            current_password, new_password, idempotency_key
        )
        change_id = operation_id("change_password", user_id, key)
        player = await self._player(user_id)
        if player.password_change_id == change_id:
            return await self._repeat_change(player, given_password, address)
        new_password = checked_new_password(new_password, "new_password")
        check_not_a_name(new_password, player.username, player.email, "new_password")
        verdict = await self._judge(player, current_password, player.username, address)
        if not verdict.is_right:
            raise WrongPassword
        # The right password has just made the account known at this address.
        async with self._passwords.admit(Urgency.KNOWN, address):
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
        size, before = checked_page(
            page_size, page_token, default=LEDGER_PAGE_SIZE, maximum=MAX_LEDGER_PAGE_SIZE
        )
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

    async def _judge(
        self, player: StoredPlayer | None, password: str, username: str, address: str
    ) -> Verdict:
        """Whether the password is right. Every check of a player's password goes through here, and
        waits after failures. An unknown player costs the same work. Raises LoginBackoff and
        HashingBusy."""
        password_hash = player.password_hash if player else None
        return await self._guard.attempt(
            username, address, lambda: self._passwords.verify(password_hash, password)
        )

    async def _begin_session(
        self, player: StoredPlayer, renewed_hash: str | None = None
    ) -> Grant | None:
        """Starts a session, and stores the renewed hash of the password if there is one. None
        when the password was changed since the player was read, so that a login with the old
        password starts no session."""
        session, first = self._sessions.new(player.user_id)

        def begin(cursor: Cursor) -> bool:
            if not _still_has_password(cursor, player):
                return False
            if renewed_hash is not None:
                players.renew_password_hash(cursor, player.user_id, renewed_hash)
            sessions_storage.insert_session(cursor, session)
            return True

        if not await self._database.transaction(begin):
            return None
        log.info(
            "begin_session",
            user_id=player.user_id,
            session_id=session.session_id,
            renewed_hash=renewed_hash is not None,
        )
        return self._sessions.grant(session, first)

    async def _repeat_change(self, player: StoredPlayer, new_password: str, address: str) -> Grant:
        """Starts a session for a repeat of the player's last password change."""
        verdict = await self._judge(player, new_password, player.username, address)
        if not verdict.is_right:
            raise IdempotencyKeyReused
        grant = await self._begin_session(player)
        if grant is None:
            raise WrongPassword
        return grant

    async def _registered(self, request: Registration, password: str, address: str) -> str | None:
        """The id of the player that this registration made before, if any. Raises
        IdempotencyKeyReused when that was another request, and LoginBackoff.

        The digest has no password, which a fast hash would give away. So the password is
        verified, but its failures count for the key: a stranger who has the key can neither
        guess on nor lock the player out. After a change there is no first password to compare.
        """
        stored = await self._database.autocommit(
            lambda cursor: players.find_registration(cursor, request.registration_id)
        )
        if stored is None:
            return None
        if stored.digest != request.digest:
            raise IdempotencyKeyReused
        if stored.first_password_hash is None:
            return stored.user_id
        verdict = await self._guard.attempt(
            request.guarded_name,
            address,
            lambda: self._passwords.verify(stored.first_password_hash, password),
        )
        if not verdict.is_right:
            raise IdempotencyKeyReused
        return stored.user_id

    async def _read_wallets(self, user_ids: Collection[str]) -> Mapping[str, Wallet]:
        return await self._database.autocommit(
            lambda cursor: wallets.find_wallets(cursor, user_ids)
        )


def _registration(username: str, email: str, key: str) -> Registration:
    return Registration(operation_id("register", username.lower(), key), username, email)


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
    return stands is not None and stands.password_version == player.password_version
