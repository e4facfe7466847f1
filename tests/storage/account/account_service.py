"""The use cases of sessions over one database, with several instances and a test clock."""

import asyncio
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.adapters.passwords import Passwords
from account_svc.domain.accounts import Verdict
from account_svc.domain.refresh_tokens import RefreshToken
from account_svc.domain.sessions import Session, SessionEnded
from account_svc.storage.sessions import MAX_FORGOTTEN, insert_session
from account_svc.use_cases.accounts import Accounts
from account_svc.use_cases.login_guard import LoginGuard
from account_svc.use_cases.sessions import Grant, Sessions
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner
from mesh.postgres.database import Database

PASSWORD = "a long password"
HOME = "192.0.2.1"


class SlowPasswords(Passwords):
    """Sets `is_verified` when a password is verified, and then waits for `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_verified, self.go_on = asyncio.Event(), asyncio.Event()

    async def verify(self, password_hash: str | None, password: str) -> Verdict:
        verdict = await super().verify(password_hash, password)
        self.is_verified.set()
        await self.go_on.wait()
        return verdict


class AccountService:
    """One account database, and instances of the service that share a clock."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.signer = TokenSigner(Ed25519PrivateKey.generate(), PLAYER_AUDIENCE, 900)
        self.outcomes: list[str] = []
        self.passwords = Passwords()
        self.sessions = self.instance()
        self.accounts = Accounts(database, self.passwords, LoginGuard(database), self.sessions)

    def instance(
        self, database: Database | None = None, max_forgotten: int = MAX_FORGOTTEN
    ) -> Sessions:
        return Sessions(
            database or self.database,
            self.signer,
            self.outcomes.append,
            clock=lambda: self.now,
            max_forgotten=max_forgotten,
        )

    def pass_time(self, **time: float) -> None:
        self.now += timedelta(**time)

    async def register(self, username: str = "mira") -> str:
        return await self.accounts.register(username, PASSWORD, f"{username}@example.com", "", HOME)

    async def login(self, username: str = "mira", password: str = PASSWORD) -> Grant:
        return await self.accounts.login(username, password, HOME)

    async def count(self, condition: str = "true") -> int:
        def count(cursor: Cursor) -> int:
            cursor.execute(f"SELECT count(*) FROM player_session WHERE {condition}")
            return int((cursor.fetchone() or (0,))[0])

        return await self.database.autocommit(count)

    async def add_sessions(self, user_id: str, count: int) -> list[RefreshToken]:
        """Adds sessions like that many logins, a second apart, without hashing."""
        tokens = []
        for _ in range(count):
            session, token = self.sessions.new(user_id)
            await self._insert(session)
            tokens.append(token)
            self.pass_time(seconds=1)
        return tokens

    async def are_waiting(self, count: int) -> None:
        """Waits until that many transactions wait for a lock."""

        def waiting(cursor: Cursor) -> int:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return int((cursor.fetchone() or (0,))[0])

        async with asyncio.timeout(10):
            while await self.database.autocommit(waiting) < count:
                await asyncio.sleep(0.01)

    async def _insert(self, session: Session) -> None:
        await self.database.transaction(lambda cursor: insert_session(cursor, session))

    async def cause(self, refresh_token: str) -> str:
        """Why the token's session has ended; empty if the refresh succeeds."""
        try:
            await self.sessions.refresh(refresh_token, "")
        except SessionEnded as error:
            return error.metadata["cause"]
        return ""
