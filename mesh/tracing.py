"""The trace of a call (W3C Trace Context): one id across all processes.

While a server runs a call, the call's trace is current. Log lines and calls to other
services take their trace id from it.
"""

import os
import re
from contextvars import ContextVar

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_current: ContextVar[str] = ContextVar("traceparent", default="")


def is_traceparent(given: str) -> bool:
    """Whether it is a valid `traceparent` header."""
    return _TRACEPARENT.fullmatch(given) is not None


def trace_id_of(traceparent: str) -> str:
    """The 32 hexadecimal digits of a valid traceparent's trace id; empty for an empty one."""
    return traceparent[3:35]


def new_traceparent() -> str:
    """A traceparent with a new trace id, not sampled."""
    digits = os.urandom(24).hex()
    return f"00-{digits[:32]}-{digits[32:]}-00"


def current_traceparent() -> str:
    """The traceparent of the current call, or empty."""
    return _current.get()


def begin_trace(given: str) -> str:
    """Makes the given traceparent current, or a new one if it is not valid; returns its trace
    id. It is current in this task and in the tasks that it creates."""
    traceparent = given if is_traceparent(given) else new_traceparent()
    _current.set(traceparent)
    return trace_id_of(traceparent)
