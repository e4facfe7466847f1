"""A mesh without the runner: the commands of docs/own-servers.md, run as they are written."""

import contextlib
import itertools
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from pydantic_settings import BaseSettings

from account_svc.config import AccountSettings
from deploy.local.layout import REPOSITORY
from deploy.local.servers.databases import role_names
from deploy.local.servers.ports import free_ports, is_free
from deploy.local.topology import DATABASES
from gacha_svc.config import GachaSettings
from gateway_http.config import GatewaySettings
from proof.postgres_server import PostgresServer, start_postgres
from registry.config import RegistrySettings

PAGE = REPOSITORY / "docs" / "own-servers.md"
FOLDER = "/etc/gacha-mesh"
SUPERUSER = "postgresql://postgres:secret@$SERVER/postgres"
SERVER = "127.0.0.1:5432"
PROCESSES: dict[str, type[BaseSettings]] = {
    "registry": RegistrySettings,
    "account_svc": AccountSettings,
    "gacha_svc": GachaSettings,
    "gateway_http": GatewaySettings,
}
TIMEOUT_SECONDS = 200
STOP_SECONDS = 60
PASTED_COUNT = 2
"""How often each block is run; after a failure a reader runs it again."""
POLL_SECONDS = 0.05
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"127\.0\.0\.1:(7\d00|7\d0\$n|8080)")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server as it is before anybody has prepared it for the mesh."""
    server = start_postgres(tmp_path / "postgres", "postgres", is_durable=True)
    with closing(psycopg2.connect(server.url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for role in itertools.chain(*map(role_names, DATABASES.values())):
            cursor.execute(f"DROP ROLE {role}")
    yield server
    server.stop()


def script_of(page: str, server: PostgresServer, folder: Path) -> str:
    """The page's blocks, each pasted twice, with the addresses and the folder of this test."""
    script = "\n".join(block * PASTED_COUNT for block in _BLOCK.findall(page))
    script = script.replace(SUPERUSER, server.url).replace(FOLDER, str(folder))
    script = script.replace(SERVER, f"127.0.0.1:{server.cluster.port}")
    ports = free_ports(random.Random())
    written = sorted({found[1] for found in _ADDRESS.finditer(script)})
    assert len(written) == 5, written
    for address in written:
        if address.endswith("$n"):
            # The ports of two instances; the page writes their last digit as $n.
            tens = (port // 10 for port in ports)
            new = (
                f"{next(ten for ten in tens if is_free(10 * ten + 1) and is_free(10 * ten + 2))}$n"
            )
        else:
            new = str(next(ports))
        script = script.replace(f"127.0.0.1:{address}", f"127.0.0.1:{new}")
    return f"{script}\necho the end"


def run(script: str) -> str:
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=REPOSITORY,
        env={
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "LANG": "C.UTF-8",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode != 0 or not lives(process.pid), "something was not stopped"
    finally:
        end_group(process.pid)
    assert process.returncode == 0, f"{said[-3000:]}\n{errors[-3000:]}"
    return said


def lives(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def end_group(group: int) -> None:
    """Sends SIGTERM to the shell and to all that it started, and waits until they have ended."""
    deadline = time.monotonic() + STOP_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(POLL_SECONDS)
        os.killpg(group, signal.SIGKILL)
        raise AssertionError("a process of the page did not end")


def test_the_commands_of_the_page_run_a_mesh(server: PostgresServer, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    said = run(script_of(PAGE.read_text(), server, folder))
    for part in ('{"status":"ready"}', '"bannerCount":', '"newBalance":1600', '"pulled_items":'):
        assert part in said, said
    assert re.search(r"purchase \|\s+1600 \|\s+1600", said), said
    assert re.search(r"pull +\|\s+-\d+ \|", said), said
    assert said.endswith("the end\n")
    for log in (folder / "log").iterdir():
        assert '"level":"error"' not in log.read_text().replace(" ", ""), log.read_text()[-2000:]
    assert {name: lockers(server, name) for name in DATABASES.values()} == {
        name: {f"{name}_owner", f"{name}_service"} for name in DATABASES.values()
    }


def lockers(server: PostgresServer, database: str) -> set[str]:
    """The roles of a database that may take an advisory lock of any kind."""
    with closing(psycopg2.connect(server.cluster.superuser_url_of(database))) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT DISTINCT rolname FROM pg_roles, pg_proc"
            " WHERE proname ~ '^pg_(try_)?advisory_.*lock' AND rolname = ANY(%s)"
            " AND has_function_privilege(rolname, pg_proc.oid, 'EXECUTE')",
            (role_names(database),),
        )
        return {role for (role,) in cursor.fetchall()}


def test_a_role_that_the_page_forgot_would_be_noticed(
    server: PostgresServer, tmp_path: Path
) -> None:
    page = PAGE.read_text().replace("for kind in owner service reader", "for kind in owner service")
    with pytest.raises(AssertionError, match='role "account_reader" does not exist'):
        run(script_of(page, server, tmp_path / "etc"))


def test_a_server_without_prepared_transactions_is_refused_before_anything_is_made(
    server: PostgresServer, tmp_path: Path
) -> None:
    page = PAGE.read_text().replace("-lt 40", "-lt 100000")
    with pytest.raises(AssertionError, match="max_prepared_transactions is "):
        run(script_of(page, server, tmp_path / "etc"))
    assert not list((tmp_path / "etc" / "passwords").iterdir())


def test_a_gateway_that_does_not_get_ready_ends_the_page_with_the_logs(
    server: PostgresServer, tmp_path: Path
) -> None:
    page = PAGE.read_text().replace("gacha_svc-2 gateway_http-1; do", "gacha_svc-2; do")
    page = page.replace("seq 300", "seq 10")
    with pytest.raises(AssertionError, match=r"(?s)/log/registry-1.*The gateway is not ready"):
        run(script_of(page, server, tmp_path / "etc"))


@pytest.mark.parametrize("process", PROCESSES)
def test_every_setting_that_must_be_set_is_in_the_table(process: str) -> None:
    section = PAGE.read_text().partition("## Settings")[2]
    lines = re.findall(r"^\|(.*)\|$", section, re.MULTILINE)
    header, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    column = header.index(process)
    marked = {
        name
        for cells in rows
        if cells[column] == "x"
        for name in re.findall(r"`([A-Z_]+)`", cells[0])
    }
    required = {
        str(field.validation_alias)
        for field in PROCESSES[process].model_fields.values()
        if field.is_required()
    }
    # What has a default that only a validator refuses.
    required |= {
        "account_svc": {"PAYMENT_URL", "PAYMENT_SECRET_KEY", "PAYMENT_WEBHOOK_SECRET"}
    }.get(process, set())
    assert marked == required
