"""Logs: one JSON object a line on standard output.

`event` is verb_object; everything variable is a field of its own. Tokens, passwords and
players' addresses are never logged. A line that is logged during a call has its `trace_id`.

Logging never raises. What cannot be written is counted in `mesh_log_lines_lost_total`, and an
event `lose_log_lines` with the `count` follows as soon as lines can be written again.
"""

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from mesh.log_output import LogOutput
from mesh.tracing import current_traceparent, trace_id_of

STANDARD_OUTPUT = 1
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
    output = LogOutput(STANDARD_OUTPUT, lambda count: _lost_lines(count, instance_id))
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_line)],
        wrapper_class=_unfailing(structlog.make_filtering_bound_logger(number), output),
        logger_factory=_LoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(),
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


class LostLogLines(Collector):
    """The metric `mesh_log_lines_lost_total` of this process."""

    def collect(self) -> Iterable[Metric]:
        factory = structlog.get_config()["logger_factory"]
        count = factory.output.lost_count if isinstance(factory, _LoggerFactory) else 0
        yield CounterMetricFamily(
            "mesh_log_lines_lost", "Log lines that could not be written.", value=count
        )


class _LoggerFactory:
    """Gives every logger of the process the same output."""

    def __init__(self, output: LogOutput) -> None:
        self.output = output

    def __call__(self, *_names: object) -> LogOutput:
        return self.output


class _Handler(logging.Handler):
    """Writes the lines of the standard library's loggers."""

    def __init__(self, output: LogOutput) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode(errors="backslashreplace")
        except Exception:  # noqa: BLE001 (logging never raises)
            self._output.lose()
        else:
            self._output.write(line)


def _unfailing(logger_class: Any, output: LogOutput) -> Any:
    """A subclass that counts a line as lost when it cannot be rendered."""

    def proxy(self: Any, *event: Any, **fields: Any) -> Any:
        try:
            return logger_class._proxy_to_logger(self, *event, **fields)
        except Exception:  # noqa: BLE001 (logging never raises)
            output.lose()

    return type("UnfailingLogger", (logger_class,), {"_proxy_to_logger": proxy})


def _add_trace_id(_logger: object, _name: str, event: structlog.typing.EventDict) -> Any:
    if trace_id := trace_id_of(current_traceparent()):
        event.setdefault("trace_id", trace_id)
    return event


def _line(event: object, default: object = None, **_options: object) -> bytes:
    try:
        return orjson.dumps(event, default=str)
    except orjson.JSONEncodeError:
        # orjson takes no lone surrogates, as in undecodable file names, and no huge integers.
        return json.dumps(event, default=str).encode()


def _lost_lines(count: int, instance_id: str) -> bytes:
    return orjson.dumps(
        {
            "count": count,
            "event": "lose_log_lines",
            "level": "error",
            "timestamp": datetime.now(UTC).isoformat(),
            "instance": instance_id,
        }
    )
