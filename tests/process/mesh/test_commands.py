"""The arguments of each process are checked before its settings are read."""

import os
import subprocess
import sys

import pytest

from deploy.local.layout import REPOSITORY

PROGRAMS = ("account_svc", "gacha_svc", "gateway_http", "registry", "payment_sandbox")


def run(program: str, argument: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", program, argument],
        cwd=REPOSITORY,
        env={},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_wrong_arguments_end_a_process_with_its_usage(program: str) -> None:
    ended = run(program, "nosuch")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"usage: python -m {program}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_needs_no_settings(program: str) -> None:
    ended = run(program, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: python -m {program}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_check_of_wrong_settings_ends_as_the_start_would(program: str) -> None:
    ended = run(program, "check")
    assert (ended.returncode, ended.stdout) == (os.EX_CONFIG, "")
    assert ended.stderr.startswith("Settings are wrong")
