"""A log line is one JSON object, and a traceback in it shows no values."""

import json
import subprocess
import sys
from pathlib import Path

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


WITHOUT_ROOM = """
import logging, resource
import structlog
from prometheus_client import generate_latest
from mesh.logs import configure_logs
from mesh.process.metrics_endpoint import metrics_registry

configure_logs("info", "somebody-1")
log = structlog.get_logger()
class Unprintable:
    def __str__(self):
        raise RuntimeError
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
log.info("begin")
log.error("go_on", exc_info=RuntimeError("it failed"))
logging.getLogger("library").error("it %s", "failed")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.info("render", value=Unprintable())
log.info("end", name="\\udc80", value=2**64)
logging.getLogger("library").error("again")
metrics = generate_latest(metrics_registry()).decode()
assert "mesh_log_lines_lost_total 4.0" in metrics, metrics
"""


def test_a_line_that_cannot_be_written_is_counted_and_raises_nothing(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with file.open("ab") as output:
        ended = subprocess.run(
            [sys.executable, "-c", WITHOUT_ROOM],
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
            timeout=30,
        )
    assert (ended.returncode, ended.stderr) == (0, b"")
    lost, end, again = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert (lost["event"], lost["level"], lost["count"]) == ("lose_log_lines", "error", 4)
    assert (end["event"], end["name"], end["value"]) == ("end", "\udc80", 2**64)
    assert (again["event"], again["logger"]) == ("again", "library")
    assert all(line["instance"] == "somebody-1" for line in (lost, end, again))
