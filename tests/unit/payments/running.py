"""Sandboxes, in this process or in their own, and a receiver of webhooks."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from account_svc.adapters.payments.sandbox import SandboxProvider
from account_svc.domain.payments import ChargeOrder
from mesh.deadlines import Deadline
from payment_sandbox.app import SandboxApp
from payment_sandbox.faults import FaultRates, Faults
from payment_sandbox.reversals import Reversals
from payment_sandbox.storage.book import Book
from payment_sandbox.use_cases import Pace, Provider
from payment_sandbox.webhooks import Webhooks

SECRET_KEY = "sandbox-key-of-the-tests"
WEBHOOK_SECRET = "webhook-secret-of-the-tests"
PENDING_SECONDS, SLOW_SECONDS = 30.0, 0.8
PATIENCE_SECONDS = 20.0
NOBODY = "http://127.0.0.1:9/webhooks/payments"

Answer = tuple[int, dict[str, Any]]
_numbers = count(1)


def order(payment_method: str = "credit_card", **changes: object) -> ChargeOrder:
    """A new order."""
    values: dict[str, object] = {
        "key": f"saga-{next(_numbers)}",
        "user_id": "11111111-2222-3333-4444-555555555555",
        "amount_minor": 499,
        "currency": "USD",
        "payment_method": payment_method,
    }
    return ChargeOrder(**(values | changes))  # type: ignore[arg-type]


def soon() -> Deadline:
    return Deadline.after(PATIENCE_SECONDS)


async def until(condition: Callable[[], bool]) -> None:
    """Polls; fails after PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


def signature(body: bytes, *, secret: str = WEBHOOK_SECRET, age_seconds: int = 0) -> str:
    """A webhook's signature; both providers use the same scheme with different header names."""
    at = int(time.time()) - age_seconds
    signed = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


@dataclass(slots=True)
class Clock:
    """A clock in Unix seconds that only the test advances."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Sandbox:
    """A sandbox in this process with its own book; `send_due` sends its webhooks."""

    url: str
    clock: Clock
    faults: Faults
    provider: Provider
    reversals: Reversals
    webhooks: Webhooks
    client: SandboxProvider


async def ask(
    sandbox: Sandbox,
    method: str,
    path: str,
    *,
    body: object = None,
    key: str | None = None,
    secret_key: str = SECRET_KEY,
) -> Answer:
    """Makes a plain HTTP call; returns its status and JSON."""
    headers = {"Authorization": f"Bearer {secret_key}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    data = body if isinstance(body, bytes | None) else orjson.dumps(body)
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, sandbox.url + path, data=data) as response,
    ):
        return response.status, await response.json()


@asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[str]:
    """The application's base URL while it serves."""
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sandbox_here(
    book_file: Path,
    webhook_url: str = NOBODY,
    *,
    slow_seconds: float = SLOW_SECONDS,
    max_in_flight: int = 256,
) -> AsyncIterator[Sandbox]:
    clock, faults = Clock(), Faults(FaultRates())
    pace = Pace(PENDING_SECONDS, slow_seconds)
    book = Book(book_file)
    ids = count(1)
    provider = Provider(book, pace, clock=clock, new_id=lambda: str(next(ids)))
    reversals = Reversals(book, clock=clock, new_id=lambda: str(next(ids)))
    app = SandboxApp(
        provider,
        reversals,
        faults,
        pace,
        secret_key=SECRET_KEY,
        clock=clock,
        max_in_flight=max_in_flight,
    )
    try:
        async with served(app.build()) as url, aiohttp.ClientSession() as session:
            webhooks = Webhooks(book, session, url=webhook_url, secret=WEBHOOK_SECRET, clock=clock)
            client = SandboxProvider(
                url, secret_key=SECRET_KEY, webhook_secret=WEBHOOK_SECRET, clock=clock
            )
            try:
                yield Sandbox(url, clock, faults, provider, reversals, webhooks, client)
            finally:
                await client.close()
    finally:
        book.close()


@dataclass(slots=True)
class Receiver:
    """Takes webhooks, except for the next `refusals`."""

    url: str = ""
    refusals: int = 0
    taken: list[tuple[bytes, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.refusals:
            self.refusals -= 1
            return web.Response(status=503)
        self.taken.append((body, request.headers["Sandbox-Signature"]))
        return web.Response(status=204)

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for body, _ in self.taken]


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    taker = Receiver()
    application = web.Application()
    application.add_routes([web.post("/webhooks/payments", taker.take)])
    async with served(application) as url:
        taker.url = f"{url}/webhooks/payments"
        yield taker
