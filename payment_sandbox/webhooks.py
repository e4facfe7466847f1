"""Sends signed webhooks until they are accepted or given up.

Any 2xx answer accepts a webhook. Otherwise it is sent again, with growing pauses, up to
MAX_ATTEMPTS times. Unsent webhooks are in the book, so that a restarted sandbox sends them; the
last ones before a kill may arrive twice, and so may all while the book cannot be written.

The signature has Stripe's form: `Sandbox-Signature: t=UNIX_SECONDS,v1=HEX`, where HEX is the
HMAC-SHA256 of the timestamp, a dot and the body, with the webhook secret as the key.
"""

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Callable

import aiohttp
import structlog

from payment_sandbox.domain import BookUnavailable
from payment_sandbox.storage.book import Book, Delivery

SIGNATURE_HEADER = "Sandbox-Signature"
MAX_ATTEMPTS = 12
MAX_AT_ONCE = 16
TIMEOUT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 30.0
"""After this long, the book is read even if nothing was added: the clock may have been set."""
UNAVAILABLE_PAUSE_SECONDS = 1.0
log = structlog.get_logger()


def signature(secret: str, body: bytes, now: int) -> str:
    """The value of the header."""
    signed = hmac.new(secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={signed}"


class Webhooks:
    """Sends what is due in a book to one URL."""

    def __init__(
        self,
        book: Book,
        session: aiohttp.ClientSession,
        *,
        url: str,
        secret: str,
        clock: Callable[[], float],
    ) -> None:
        """`clock` gives Unix seconds."""
        self._book = book
        self._session = session
        self._url = url
        self._secret = secret
        self._clock = clock

    async def run(self) -> None:
        """Never returns. Waits while the book is unavailable."""
        while True:
            try:
                # Cleared before the book is read: what is added meanwhile ends the wait.
                self._book.deliveries_added.clear()
                if not await self.send_due():
                    await self._wait_for_more()
            except BookUnavailable as error:
                log.error("fail_webhooks", message=error.message)
                await asyncio.sleep(UNAVAILABLE_PAUSE_SECONDS)

    async def _wait_for_more(self) -> None:
        """Waits until a delivery is due or was added."""
        due_at = await self._book.next_due_at()
        wait_seconds = LONGEST_WAIT_SECONDS
        if due_at is not None:
            wait_seconds = min(wait_seconds, due_at - self._clock())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await self._book.deliveries_added.wait()

    async def send_due(self) -> int:
        """Sends the due webhooks, up to MAX_AT_ONCE; returns how many."""
        deliveries = await self._book.due_deliveries(self._clock(), MAX_AT_ONCE)
        if not deliveries:
            return 0
        taken = await asyncio.gather(*map(self._send, deliveries))
        outcomes = list(zip(deliveries, taken, strict=True))
        given_up = [
            each.number
            for each, is_taken in outcomes
            if not is_taken and each.attempt_count + 1 >= MAX_ATTEMPTS
        ]
        for number in given_up:
            log.warning("give_up_webhook", delivery=number, attempts=MAX_ATTEMPTS)
        done = [each.number for each, is_taken in outcomes if is_taken] + given_up
        now = self._clock()
        postponed = [
            (each.number, now + _pause_seconds(each.attempt_count))
            for each, _ in outcomes
            if each.number not in done
        ]
        await self._book.settle_deliveries(done, postponed)
        return len(deliveries)

    async def _send(self, delivery: Delivery) -> bool:
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: signature(self._secret, delivery.body, int(self._clock())),
        }
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        try:
            async with self._session.post(
                self._url,
                data=delivery.body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                return 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError):
            return False


def _pause_seconds(attempt_count: int) -> float:
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**attempt_count)
