"""Players who pull continuously, and settle every pull.

A pull with an unknown outcome is sent again with the same key, as the documentation says.
Answers are kept, to be compared with the stored data.
"""

import asyncio
import random
import ssl
from dataclasses import dataclass, field
from uuid import uuid4

import httpx

SETTLE_SECONDS = 40.0
RETRY_PAUSE_SECONDS = 0.05
PASSWORD = "a long password"
REFUSED = "INSUFFICIENT_CURRENCY"


@dataclass(slots=True)
class PullingPlayer:
    """A player with a token, and a number of pulls that the wallet can pay."""

    user_id: str
    token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


@dataclass(slots=True)
class Settled:
    """A pull whose outcome its player knows."""

    player: PullingPlayer
    key: str
    count: int
    succeeded: bool
    body: bytes
    tries: int


@dataclass
class PullLoad:
    """Runs players against one gateway until `stop`."""

    gateway: str
    seed: int
    banner: str = "standard"
    trust: ssl.SSLContext | None = None
    """Verifies the gateway's certificate; None for plain HTTP."""
    settled: list[Settled] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    """The number of errors of each kind that callers saw and retried."""

    def __post_init__(self) -> None:
        self._stop = asyncio.Event()

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.gateway, timeout=15, verify=True if self.trust is None else self.trust
        )

    async def player(self, client: httpx.AsyncClient, gems: int) -> PullingPlayer:
        """Registers a player with that many gems."""
        name = f"load-{uuid4().hex[:16]}"
        credentials = {"username": name, "password": PASSWORD}
        registered = await client.post(
            "/register", json=credentials | {"email": f"{name}@example.com"}
        )
        registered.raise_for_status()
        login = await client.post("/login", json=credentials)
        login.raise_for_status()
        tokens = login.json()
        player = PullingPlayer(
            registered.json()["userId"], tokens["token"], tokens["refresh_token"]
        )
        purchase = {"amount": gems, "paymentMethod": "credit_card"}
        bought = await client.post("/buy-currency", json=purchase, headers=player.headers)
        bought.raise_for_status()
        return player

    async def refresh(
        self, client: httpx.AsyncClient, refresh_token: str, key: str
    ) -> httpx.Response | None:
        """The answer of one refresh request; None without an answer."""
        try:
            return await client.post(
                "/refresh",
                json={"refresh_token": refresh_token},
                headers={"idempotency-key": key},
            )
        except httpx.TransportError:
            return None

    async def run(self, players: list[PullingPlayer], connections: int) -> None:
        """Pulls over that many connections until `stop`; settles every started pull."""
        async with self.client() as client:
            await asyncio.gather(
                *(self._keep_pulling(client, players, number) for number in range(connections))
            )

    def stop(self) -> None:
        """Starts no more pulls; the started ones are settled."""
        self._stop.set()

    async def pull(
        self, client: httpx.AsyncClient, player: PullingPlayer, count: int, key: str
    ) -> Settled:
        """Sends one pull until its outcome is known. Raises TimeoutError after SETTLE_SECONDS."""
        async with asyncio.timeout(SETTLE_SECONDS):
            tries = 0
            while True:
                tries += 1
                answer = await self._send(client, player, count, key)
                if answer is not None and answer.status_code == 200:
                    return Settled(player, key, count, True, answer.content, tries)
                if answer is not None and answer.json()["reason"] == REFUSED:
                    return Settled(player, key, count, False, answer.content, tries)
                self._note(answer)
                await asyncio.sleep(RETRY_PAUSE_SECONDS)

    async def _keep_pulling(
        self, client: httpx.AsyncClient, players: list[PullingPlayer], number: int
    ) -> None:
        choose = random.Random(f"{self.seed}/{number}")
        while not self._stop.is_set():
            player, count = choose.choice(players), choose.choice((1, 1, 10))
            self.settled.append(await self.pull(client, player, count, uuid4().hex))

    async def _send(
        self, client: httpx.AsyncClient, player: PullingPlayer, count: int, key: str
    ) -> httpx.Response | None:
        try:
            return await client.post(
                f"/gacha/pull/{self.banner}",
                json={"count": count},
                headers=player.headers | {"idempotency-key": key},
            )
        except httpx.TransportError:
            return None

    def _note(self, answer: httpx.Response | None) -> None:
        error = "no answer" if answer is None else str(answer.json()["reason"])
        self.errors[error] = self.errors.get(error, 0) + 1
        if answer is not None and answer.status_code < 500 and answer.status_code not in (409, 429):
            raise AssertionError(f"a retry cannot settle this: {answer.text}")
