"""A log line is one JSON object, and a traceback in it shows no values."""

import subprocess
import sys

import orjson

FAILING = """
import structlog
from mesh.logs import configure_logs

configure_logs("info", "somebody-1")
def fail(token):
    raise RuntimeError("it failed")
try:
    fail("SECRET" + "TOKEN")
except RuntimeError as error:
    structlog.get_logger().error("fail_call", exc_info=error)
"""


def test_a_traceback_has_no_local_variables() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FAILING], capture_output=True, check=True, timeout=30
    )
    line = orjson.loads(ended.stdout)
    assert (line["event"], line["instance"]) == ("fail_call", "somebody-1")
    assert line["exception"][0]["exc_value"] == "it failed"
    assert line["exception"][0]["frames"][-1]["name"] == "fail"
    assert b"SECRETTOKEN" not in ended.stdout


WITHIN_A_CALL = """
import structlog
from mesh.logs import configure_logs
from mesh.tracing import begin_trace

configure_logs("info", "somebody-1")
structlog.get_logger().info("begin")
begin_trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
structlog.get_logger().info("go_on")
structlog.get_logger().info("end", trace_id="of another")
"""


def test_a_line_within_a_call_has_its_trace_id() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHIN_A_CALL], capture_output=True, check=True, timeout=30
    )
    lines = [orjson.loads(line) for line in ended.stdout.splitlines()]
    trace_ids = [line.get("trace_id") for line in lines]
    assert trace_ids == [None, "4bf92f3577b34da6a3ce929d0e0e4736", "of another"]
