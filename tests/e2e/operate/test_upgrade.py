"""An upgrade of a running mesh, from a checkout whose code changes meanwhile."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg2
import pytest

from deploy.local import mesh_file, source_code
from deploy.local.layout import Layout
from proof.clients.rest_client import RestClient
from proof.players import register

TIMEOUT_SECONDS = 120.0


class Checkout:
    """A copy of the code, and the mesh that runs from it in the background."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(folder / "var")

    def gachactl(
        self, command: str, *options: str, settings: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "deploy.gachactl", command, *options],
            cwd=self.folder,
            env={**os.environ, **(settings or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )

    def upgrade_without_terminal(self) -> str:
        """Upgrades, while the terminal goes away when the mesh is stopped. Returns its messages."""
        with subprocess.Popen(
            [sys.executable, "-m", "deploy.gachactl", "upgrade"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as upgrade:
            assert upgrade.stderr is not None
            said = ""
            for line in upgrade.stderr:
                said += line
                if "Stopping the mesh" in line:
                    time.sleep(0.5)
                    upgrade.send_signal(signal.SIGHUP)
                    upgrade.send_signal(signal.SIGINT)
                    upgrade.send_signal(signal.SIGTERM)
        assert upgrade.returncode == 0, said
        return said

    @property
    def mesh(self) -> mesh_file.Mesh:
        mesh = mesh_file.read(self.layout.mesh)
        assert mesh is not None, "the mesh is up"
        return mesh

    def pids(self) -> dict[str, int | None]:
        return {each["name"]: each["pid"] for each in self.mesh["processes"]}

    def last_migration(self) -> str:
        connection = psycopg2.connect(self.mesh["databases"]["account"])
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT name FROM schema_migration ORDER BY version DESC LIMIT 1")
            (name,) = cursor.fetchone() or ("",)
        connection.close()
        return str(name)

    def add_migration(self) -> str:
        """The name of a new migration of account_svc, which every instance requires."""
        migrations = self.folder / "account_svc" / "migrations"
        name = f"{len(list(migrations.glob('*.sql'))) + 1:04}_of_an_upgrade.sql"
        (migrations / name).write_text("COMMENT ON TABLE schema_migration IS 'upgraded';\n")
        return name


@pytest.fixture
def checkout(tmp_path: Path, repository: Path) -> Iterator[Checkout]:
    checkout = Checkout(tmp_path / "checkout")
    for name in (*source_code.PACKAGES, "requirements"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / name, checkout.folder / name, ignore=ignored)
    started = checkout.gachactl("up", "--port", "0", "--detach")
    assert started.returncode == 0, started.stderr
    yield checkout
    checkout.gachactl("down")


def nothing_is_stopped_by_what_does_not_start(checkout: Checkout) -> None:
    before = checkout.pids()
    program = checkout.folder / "gacha_svc" / "__main__.py"
    good = program.read_text()
    program.write_text(f"{good}\nimport no_such_module\n")
    refused = checkout.gachactl("upgrade")
    assert refused.returncode == 1
    assert "No module named 'no_such_module'" in refused.stderr
    assert "Nothing was stopped" in refused.stderr
    assert checkout.pids() == before

    program.write_text(good)
    wrong = {"ACCOUNT_GEM_PACKAGES": "many", "GATEWAY_MAX_IN_FLIGHT": "-1"}
    refused = checkout.gachactl("upgrade", settings=wrong)
    assert refused.returncode == 1
    assert all(name in refused.stderr for name in (*wrong, "account_svc-1", "gateway_http-1"))
    assert "Nothing was stopped" in refused.stderr
    assert checkout.pids() == before


@pytest.mark.timeout(300)
def test_an_upgrade_brings_new_code_and_schemas_and_wrong_ones_stop_nothing(
    checkout: Checkout,
) -> None:
    with contextlib.closing(RestClient(checkout.mesh["gateway"])) as rest:
        player = register(rest, gems=1600)
    before = checkout.pids()

    migration = checkout.add_migration()
    rolled = checkout.gachactl("roll")
    assert rolled.returncode == 1
    assert f"account_svc/migrations/{migration}" in rolled.stderr
    assert "make upgrade" in rolled.stderr
    assert checkout.pids() == before

    nothing_is_stopped_by_what_does_not_start(checkout)
    catalog = checkout.folder / "gacha_svc" / "catalog.yaml"
    catalog.write_text(catalog.read_text().replace("rarity: ultra rare}", "rarity: unheard}", 1))
    said = checkout.upgrade_without_terminal()
    assert "The catalog was refused" in said
    assert "items[0].rarity must be" in said
    after = checkout.pids()
    assert after.keys() == before.keys()
    assert all(after[name] != before[name] for name in before)
    assert checkout.last_migration() == migration
    with contextlib.closing(RestClient(checkout.mesh["gateway"])) as rest:
        assert rest.pull(player.token, "standard").ok, "the earlier catalog is in force"
    status = checkout.gachactl("status")
    assert status.returncode == 0, status.stdout
    rolled = checkout.gachactl("roll")
    assert rolled.returncode == 0, rolled.stderr
