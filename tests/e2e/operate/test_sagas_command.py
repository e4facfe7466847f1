"""An operator lists sagas, and retries one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from deploy.local.layout import REPOSITORY
from mesh.saga import rows
from mesh.saga.definition import NewSaga
from proof.stack import Mesh

NOBODYS = "nobody_takes_it_up"
TIMEOUT_SECONDS = 30


def sagas(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deploy.gachactl", "sagas", *words, "--folder", str(folder)]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )


@pytest.fixture
def cursor(mesh: Mesh) -> Iterator[Cursor]:
    with closing(psycopg2.connect(mesh.superuser_url("account"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
            cursor.execute("DELETE FROM saga WHERE kind = %s", (NOBODYS,))


@pytest.fixture
def parked_id(cursor: Cursor) -> str:
    new = NewSaga(str(uuid4()), "nobody")
    [saga] = rows.insert(cursor, NOBODYS, "ASKING", [new], 60.0).values()
    assert rows.postpone(cursor, saga, "ASKED_IN_VAIN", 100, None)
    return saga.saga_id


def test_a_parked_saga_is_listed_and_tried_again(
    mesh: Mesh, cursor: Cursor, parked_id: str
) -> None:
    listed = sagas(mesh.layout.folder, "list")
    assert listed.returncode == 0
    row = next(line for line in listed.stdout.splitlines() if parked_id in line)
    assert all(word in row for word in ("account", "ASKING", "100", "ASKED_IN_VAIN", "a person"))

    as_json = sagas(mesh.layout.folder, "list", "--format", "json")
    found = json.loads(as_json.stdout)["sagas"]
    assert next(each for each in found if each["saga_id"] == parked_id) == {
        "database": "account",
        "saga_id": parked_id,
        "kind": NOBODYS,
        "state": "ASKING",
        "attempt_count": 100,
        "last_failure": "ASKED_IN_VAIN",
        "waits_for": "a person",
    }

    retried = sagas(mesh.layout.folder, "retry", parked_id.upper())
    assert (retried.returncode, retried.stderr) == (0, "")
    assert f"account: {parked_id} is tried again" in retried.stdout
    again = rows.find(cursor, parked_id)
    assert again is not None
    assert (again.is_parked, again.attempt_count) == (False, 0)


@pytest.mark.parametrize(
    ("saga_id", "status", "told"),
    [("nope", 2, "must be a UUID"), (str(uuid4()), 1, "neither under way nor parked")],
    ids=["no id", "nobody's id"],
)
def test_a_saga_that_cannot_be_retried_is_reported_in_a_sentence(
    mesh: Mesh, saga_id: str, status: int, told: str
) -> None:
    refused = sagas(mesh.layout.folder, "retry", saga_id)
    assert refused.returncode == status
    assert told in refused.stderr


def test_without_a_mesh_it_says_so(tmp_path: Path) -> None:
    refused = sagas(tmp_path, "list")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert f"Nothing runs in {tmp_path}: start it with `gachactl up --folder" in refused.stderr


def test_a_mesh_elsewhere_is_reached_by_its_databases(
    mesh: Mesh, parked_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCOUNT_DATABASE_URL", mesh.database_url("account"))
    listed = sagas(tmp_path, "list")
    assert listed.returncode == 0, listed.stderr
    assert parked_id in listed.stdout
