"""Players, their tokens, and what their wallets hold."""

from collections.abc import Collection, Mapping
from uuid import uuid4

from account_svc.domain.accounts import (
    InvalidCredentials,
    NewPlayer,
    UserNotFound,
    check_login,
    check_password,
    checked_player,
)
from account_svc.domain.wallets import LedgerEntry
from account_svc.passwords import Passwords
from account_svc.storage import accounts as players
from account_svc.storage import wallets
from mesh.auth import Signer
from mesh.database import Database
from mesh.gathering import GatheredRead
from mesh.idempotency import IdempotencyKeyReused, checked_key, operation_id
from mesh.pages import checked_page_size, key_of

LEDGER_PAGE_SIZE = 50
MAX_LEDGER_PAGE_SIZE = 100


class Accounts:
    """Players and their wallets, over one database."""

    def __init__(self, database: Database, passwords: Passwords, signer: Signer) -> None:
        self._database = database
        self._passwords = passwords
        self._signer = signer
        self._balances = GatheredRead(self._read_balances)

    async def register(self, username: str, password: str, email: str, key: str) -> str:
        """Creates a player and returns its id. Idempotent by `key`.

        Raises InvalidArgument, UsernameTaken, EmailTaken, IdempotencyKeyReused.
        """
        player = checked_player(username, email)
        check_password(password)
        registration_id = operation_id("register", "", checked_key(key))
        if key:
            stored = await self._registered(registration_id, player, password)
            if stored is not None:
                return stored
        password_hash = await self._passwords.hash(password)
        user_id = str(uuid4())
        is_new = await self._database.transaction(
            lambda cursor: players.insert_player(
                cursor, user_id, registration_id, player, password_hash
            )
        )
        if is_new:
            return user_id
        stored = await self._registered(registration_id, player, password)
        assert stored is not None, "a registration that conflicted is there"
        return stored

    async def login(self, username: str, password: str) -> str:
        """A token for the player. Raises InvalidArgument, InvalidCredentials."""
        check_login(username, password)
        player = await self._database.transaction(
            lambda cursor: players.find_player_by_username(cursor, username.lower())
        )
        password_hash = player.password_hash if player else None
        if not await self._passwords.verify(password_hash, password) or player is None:
            raise InvalidCredentials
        return self._signer.sign(player.user_id)

    async def balance(self, user_id: str) -> int:
        """Gems that the player owns. Raises UserNotFound."""
        balance = await self._balances.get(user_id)
        if balance is None:
            raise UserNotFound
        return balance

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

    async def _registered(
        self, registration_id: str, player: NewPlayer, password: str
    ) -> str | None:
        """The id of the player that this registration made before, if it did."""
        stored = await self._database.autocommit(
            lambda cursor: players.find_player_by_registration(cursor, registration_id)
        )
        if stored is None:
            return None
        is_same = (stored.username, stored.email) == (player.username, player.email)
        if not await self._passwords.verify(stored.password_hash, password) or not is_same:
            raise IdempotencyKeyReused
        return stored.user_id

    async def _read_balances(self, user_ids: Collection[str]) -> Mapping[str, int]:
        return await self._database.autocommit(
            lambda cursor: wallets.find_balances(cursor, user_ids)
        )
