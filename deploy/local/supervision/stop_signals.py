"""Stop signals: the first one stops the runner in order, a later one quickly."""

import asyncio
import signal

ONE_REQUEST_SECONDS = 1.0
"""Signals within this time are one request: a Ctrl-C often arrives twice, through a parent."""


def stop_on_signals(hurry: asyncio.Event) -> asyncio.Event:
    """The event that SIGINT, SIGTERM or SIGHUP sets; a later signal sets `hurry`.

    Call it in the running loop, once.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    counts_from = 0.0

    def on_signal() -> None:
        nonlocal counts_from
        if not stop.is_set():
            stop.set()
            counts_from = loop.time() + ONE_REQUEST_SECONDS
        elif loop.time() > counts_from:
            hurry.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    return stop
