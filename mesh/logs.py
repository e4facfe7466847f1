"""Logs: one JSON object a line on standard output.

`event` is verb_object; everything variable is a field of its own. Tokens, passwords and
players' addresses are never logged. A line that is logged during a call has its `trace_id`.
"""

import logging
import sys
from typing import Any

import orjson
import structlog

from mesh.tracing import current_traceparent, trace_id_of

_TRACEBACKS = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Leaves out local variables: in a request they hold its token and its body."""


def configure_logs(level: str, instance_id: str) -> None:
    """Sets up structlog, and makes the standard library's loggers write the same format.

    `level` is one of debug, info, warning, error. Call it once, before anything is logged.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _name, event: {**event, "instance": instance_id},
        structlog.processors.ExceptionRenderer(_TRACEBACKS),
    ]
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_line)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(),
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _add_trace_id(_logger: object, _name: str, event: structlog.typing.EventDict) -> Any:
    if trace_id := trace_id_of(current_traceparent()):
        event.setdefault("trace_id", trace_id)
    return event


def _line(event: object, default: object = None, **_options: object) -> bytes:
    return orjson.dumps(event, default=str)
