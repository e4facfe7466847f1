"""The limit of open files is raised as far as the system allows, and never lowered."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import resource
from mesh.process.open_files import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))
for wanted in (128, 1024, 64):
    print(raise_limit(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_follows_what_is_wanted_up_to_the_hard_limit(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["128 128 256", "256 256 256", "256 256 256"]
