"""The sandbox process: `python -m payment_sandbox [serve | check]`.

Composition root. SIGTERM and SIGINT stop it: requests in flight end, and undelivered
webhooks are sent by the next process that opens the same book.
"""

import sqlite3
import time
from uuid import uuid4

import aiohttp
import structlog
from aiohttp import web

from mesh.logs import configure_logs
from mesh.process.arguments import CHECK, read_command
from mesh.process.listening import ListenFailed
from mesh.process.runtime import Runtime, run
from mesh.settings_loading import WrongSettings, load
from mesh.tls.outgoing import trusted_by_environment
from payment_sandbox.app import SandboxApp
from payment_sandbox.config import SandboxSettings
from payment_sandbox.faults import Faults
from payment_sandbox.reversals import Reversals
from payment_sandbox.storage.book import Book
from payment_sandbox.use_cases import Pace, Provider
from payment_sandbox.webhooks import Webhooks

DRAIN_SECONDS = 10.0
log = structlog.get_logger()


async def serve(settings: SandboxSettings, book: Book) -> None:
    """Serves until a signal. Raises ListenFailed when it cannot listen on the address."""
    async with Runtime() as runtime:
        connector = aiohttp.TCPConnector(ssl=trusted_by_environment())
        session = await runtime.enter_async_context(aiohttp.ClientSession(connector=connector))
        pace = Pace(settings.pending_seconds, settings.slow_seconds)
        app = SandboxApp(
            Provider(book, pace, clock=time.time, new_id=_new_id),
            Reversals(book, clock=time.time, new_id=_new_id),
            Faults(settings.faults),
            pace,
            secret_key=settings.secret_key.get_secret_value(),
            clock=time.time,
        )
        webhooks = Webhooks(
            book,
            session,
            url=settings.webhook_url,
            secret=settings.webhook_secret.get_secret_value(),
            clock=time.time,
        )
        runner = web.AppRunner(app.build(), access_log=None, shutdown_timeout=DRAIN_SECONDS)
        runtime.push_async_callback(runner.cleanup)
        await runner.setup()
        await _listen(runner, settings.listen)
        runtime.run_in_background(webhooks.run, "webhooks")
        await runtime.until_stopped()
    log.info("leave")


def _new_id() -> str:
    return uuid4().hex


async def _listen(runner: web.AppRunner, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
    except OSError as error:
        raise ListenFailed(
            f"Cannot listen on {address} ({error.strerror or error}); "
            "set SANDBOX_LISTEN to a free host:port of this machine."
        ) from None
    host, number = runner.addresses[0][:2]
    log.info("serve", address=f"{host}:{number}")


def main() -> None:
    """Reads the arguments and the settings, and runs the process until it exits."""
    command = read_command("payment_sandbox")
    settings = load(SandboxSettings)
    if command == CHECK:
        return
    configure_logs(settings.log_level, settings.instance_id)
    try:
        book = Book(settings.book_file)
    except sqlite3.Error as error:
        raise WrongSettings(
            f"SANDBOX_BOOK_FILE: {settings.book_file} cannot be opened ({error})."
        ) from None
    try:
        run(serve(settings, book))
    finally:
        book.close()


if __name__ == "__main__":
    main()
