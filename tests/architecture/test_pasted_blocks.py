"""A block of the pages that is pasted into a shell ends at its first step that fails and says why,
so that no later line shows something else than the reader expects."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.gachactl.mesh_report import print_examples
from tests.e2e.docs.readme import examples

PAGES = ("README.md", "docs/sessions.md")
PROGRAMS = ("curl", "grpcurl", "ghz", ".venv/bin/gachactl")
MAX_STEPS = 12
TAKEN_BACK = (33, 100)
ANSWER = {
    "processes": [
        {"name": role, "role": role, "address": "127.0.0.1:1", "health": "healthy"}
        for role in ("gacha_svc", "payment_sandbox")
    ],
    "token": "a", "refresh_token": "b", "itemId": 1, "purchaseId": "c", "disputes": [{"id": "d"}],
    "purchases": [{"takenBack": gems} for gems in TAKEN_BACK],
}  # fmt: skip
REFUSAL = '{"status":"error"}'
PROGRAM = """\
#!/bin/sh
count=$(($(cat count) + 1))
echo $count > count
[ $count != "$FAIL_AT" ] || { case $0 in *gachactl) exec >&2;; esac; echo 'REFUSAL'; exit 22; }
cat answer
""".replace("REFUSAL", REFUSAL)


class Shell:
    """A bash without any option, whose programs answer, or fail at one of their calls."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        answer = json.dumps(ANSWER, separators=(",", ":"))
        for name, text in (
            *((program, PROGRAM) for program in PROGRAMS),
            ("answer", answer + "\n"),
            ("count", "0\n"),
            ("var/mesh.json", answer),
            ("var/secrets/payment_secret_key", "secret"),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def steps_until_each_failure(self, before: str, block: str) -> list[tuple[int, int]]:
        """For each step of the block, its number, and how many were done when it had failed. What
        the failing step answers is printed."""
        tries = "".join(
            f"echo 0 > count; export FAIL_AT={step}\n{block}\necho; echo === {step} $(cat count)\n"
            for step in range(1, MAX_STEPS + 1)
        )
        done = subprocess.run(
            ["bash"],
            input=f"{before}\n{tries}",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            timeout=120,
            cwd=self._folder,
            env={
                "PATH": f"{self._folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "FAIL_AT": "none",
            },
        )
        printed = re.split(r"^=== (\d+) (\d+)$", done.stdout, flags=re.MULTILINE)
        found = [
            (int(step), int(count))
            for step, count in zip(printed[1::3], printed[2::3], strict=True)
        ]
        length = max(count for _, count in found)
        for (step, _), text in zip(found, printed[::3], strict=False):
            assert (REFUSAL in text) == (step <= length), f"{block}\n{text}"
        return found


def blocks(page: Path) -> list[str]:
    return [example.script for example in examples(page.read_text())]


@pytest.mark.parametrize("page", PAGES)
def test_a_block_ends_at_the_step_that_fails(page: str, repository: Path, tmp_path: Path) -> None:
    shell, scripts = Shell(tmp_path), blocks(repository / page)
    assert scripts
    for number, script in enumerate(scripts):
        found = shell.steps_until_each_failure("\n".join(scripts[:number]), script)
        length = max(count for _, count in found)
        assert 1 <= length < MAX_STEPS, script
        assert found == [(step, min(step, length)) for step, _ in found], script


def test_the_calls_that_up_prints_end_at_the_one_that_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_examples(
        {
            "gateway": "http://127.0.0.1:1",
            "registries": [],
            "databases": {},
            "readers": {},
            "tls": None,
            "processes": [],
        }
    )
    heading, _, block = capsys.readouterr().out.partition("\n")
    assert heading == "Try it:"
    found = Shell(tmp_path).steps_until_each_failure("", block)
    assert found == [(step, min(step, 4)) for step, _ in found]
