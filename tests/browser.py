"""A real headless browser."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
TIMEOUT_SECONDS = 60
PAGE_MS = 20_000
"""Of the page's own time, which passes at once while it waits for nothing."""


class Shown(NamedTuple):
    """The document at the end, and the browser's messages."""

    document: str
    console: str


def show(url: str, profile: Path) -> Shown:
    """Loads a page and runs its scripts; skips the test if no browser is installed."""
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(
            "left out: pages in a real browser, for none is installed. To have it: "
            "apt-get install chromium"
        )
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", f"--virtual-time-budget={PAGE_MS}"]
    command += ["--enable-logging=stderr", "--v=0", "--dump-dom", url]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, done.stderr
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return Shown(done.stdout, console)
