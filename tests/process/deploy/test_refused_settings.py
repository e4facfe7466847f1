"""`gachactl up` with a setting that one of its processes refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.layout import REPOSITORY


@pytest.mark.parametrize(
    ("wrong", "who"),
    [
        ({"MESH_LOG_LEVEL": "loud"}, ("registry-1", "payment_sandbox-1", "gateway_http-1")),
        (
            {"ACCOUNT_GEM_PRICE_CURRENCY": "gold", "ACCOUNT_GEM_PACKAGES": "some"},
            ("`python -m account_svc migrate`",),
        ),
        (
            {"GATEWAY_MAX_IN_FLIGHT": "-1", "GATEWAY_CORS_ORIGINS": "everywhere"},
            ("gateway_http-1",),
        ),
    ],
    ids=["several at once", "migrate", "gateway"],
)
def test_the_start_ends_at_the_first_refusal_with_all_its_sentences(
    tmp_path: Path, wrong: dict[str, str], who: tuple[str, ...]
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "deploy.gachactl", "up", "--folder", tmp_path, "--port", "0"],
        cwd=REPOSITORY,
        env={**os.environ, **wrong},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "it is started again" not in ended.stderr
    said = ended.stderr.rpartition("Everything is stopped.\n")[2]
    first, *faults = said.splitlines()
    assert first.startswith(tuple(f"{one} does not start. Settings are wrong" for one in who))
    assert {fault.strip().partition(":")[0] for fault in faults} == set(wrong)
