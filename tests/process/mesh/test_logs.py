"""A log line is one JSON object, and a traceback in it tells no value."""

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
