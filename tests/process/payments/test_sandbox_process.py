"""`python -m payment_sandbox` as a process: accepted requests survive its death."""

import asyncio
import os
import signal
import socket
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from account_svc.adapters.payments.sandbox import SandboxProvider
from account_svc.domain.payments import Charge, ChargeOrder, ChargeState, ProviderAway
from tests.process.payments.sandbox_process import address_of, process_settings, start_process
from tests.unit.payments.running import (
    NOBODY,
    PATIENCE_SECONDS,
    SECRET_KEY,
    WEBHOOK_SECRET,
    Receiver,
    order,
    receiver,
    soon,
    until,
)


class Sandbox:
    """A sandbox with one book, over restarts of its process."""

    def __init__(self, book_file: Path) -> None:
        self._book_file = book_file
        self.address = "127.0.0.1:0"
        self.process: Process | None = None
        self.client: SandboxProvider | None = None

    async def start(self, webhook_url: str = NOBODY) -> SandboxProvider:
        """Starts it at the same address as before."""
        settings = process_settings(self._book_file, self.address, webhook_url)
        self.process = await start_process(settings | {"SANDBOX_PENDING_SECONDS": "0.5"})
        self.address = await address_of(self.process)
        if self.client is None:
            self.client = SandboxProvider(
                f"http://{self.address}", secret_key=SECRET_KEY, webhook_secret=WEBHOOK_SECRET
            )
        return self.client

    async def end(self, how: signal.Signals) -> tuple[bytes, bytes]:
        assert self.process is not None
        self.process.send_signal(how)
        return await asyncio.wait_for(self.process.communicate(), PATIENCE_SECONDS)


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    it = Sandbox(tmp_path / "book.sqlite3")
    yield it
    if it.process is not None and it.process.returncode is None:
        await it.end(signal.SIGKILL)
    if it.client is not None:
        await it.client.close()


@pytest.fixture
async def webhooks() -> AsyncIterator[Receiver]:
    async with receiver() as taker:
        yield taker


async def test_a_killed_sandbox_forgets_no_charge_and_no_refund(sandbox: Sandbox) -> None:
    client = await sandbox.start()
    kept, refunded, declined = order(), order("paypal"), order("card_declined")
    charges = [await client.charge(each, soon()) for each in (kept, refunded, declined)]
    await client.refund(charges[1], "refund", soon())

    await sandbox.end(signal.SIGKILL)
    with pytest.raises(ProviderAway):
        await client.find_charge(kept.key, soon())
    await sandbox.start()

    assert await client.charge(kept, soon()) == charges[0]
    assert await client.find_charge(declined.key, soon()) == charges[2]
    found = await client.find_charge(refunded.key, soon())
    assert found is not None
    assert found.state is ChargeState.REFUNDED
    await client.refund(charges[1], "refund", soon())


async def test_every_charge_that_was_answered_is_in_the_book_after_a_kill(
    sandbox: Sandbox,
) -> None:
    client = await sandbox.start()
    answered: dict[str, Charge] = {}

    async def keep_charging() -> None:
        while True:
            wanted: ChargeOrder = order()
            try:
                answered[wanted.key] = await client.charge(wanted, soon())
            except ProviderAway:
                return

    load = [asyncio.create_task(keep_charging()) for _ in range(8)]
    await until(lambda: len(answered) >= 50)
    await sandbox.end(signal.SIGKILL)
    await asyncio.gather(*load)
    await sandbox.start()
    for key, charge in answered.items():
        assert await client.find_charge(key, soon()) == charge


async def test_a_charge_pending_at_a_kill_succeeds_and_is_reported_afterwards(
    sandbox: Sandbox, webhooks: Receiver
) -> None:
    client = await sandbox.start(NOBODY)
    wanted = order("card_pending")
    assert (await client.charge(wanted, soon())).state is ChargeState.PENDING
    await sandbox.end(signal.SIGKILL)
    await sandbox.start(webhooks.url)
    await until(lambda: "charge.succeeded" in webhooks.types())
    found = await client.find_charge(wanted.key, soon())
    assert found is not None
    assert found.state is ChargeState.SUCCEEDED


async def test_a_signal_ends_it_in_order(sandbox: Sandbox) -> None:
    client = await sandbox.start()
    wanted = order("card_slow")
    slow = asyncio.create_task(client.charge(wanted, soon()))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while await client.find_charge(wanted.key, soon()) is None:
        assert time.monotonic() < deadline
    output, errors = await sandbox.end(signal.SIGTERM)
    assert (await slow).state is ChargeState.SUCCEEDED
    assert sandbox.process is not None
    assert (sandbox.process.returncode, errors) == (0, b"")
    assert b'"leave"' in output.splitlines()[-1]
    assert SECRET_KEY.encode() not in output


async def test_a_taken_port_ends_the_process_with_a_clear_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await start_process(process_settings(tmp_path / "book", address, NOBODY))
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 1
    assert errors.decode().startswith(f"Cannot listen on {address}")


async def test_wrong_settings_are_all_named_at_once(tmp_path: Path) -> None:
    settings = process_settings(tmp_path / "book", "nowhere", "gopher://somewhere")
    wrong = {"SANDBOX_FAULTS": '{"slow": 2}', "SANDBOX_SECRET_KEY": "short"}
    process = await start_process(settings | wrong | {"SANDBOX_WEBHOOK_SECRET_FILE": "also"})
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == os.EX_CONFIG
    for name in (*wrong, "SANDBOX_LISTEN", "SANDBOX_WEBHOOK_URL", "SANDBOX_WEBHOOK_SECRET"):
        assert name in errors.decode()
    assert "short" not in errors.decode()
