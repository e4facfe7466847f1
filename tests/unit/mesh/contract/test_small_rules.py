"""Idempotency keys, pages, gids, settings: valid values, and the errors of invalid ones."""

import os
import time
from pathlib import Path
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.contract.idempotency import checked_key, operation_id
from mesh.contract.pages import checked_page_size, key_of
from mesh.deadlines import Deadline
from mesh.errors import DeadlineExceeded, InvalidArgument
from mesh.process.config import ServerSettings, read_private_key
from mesh.settings_loading import load
from mesh.txn.model import gid_age_seconds, new_gid


@pytest.mark.parametrize("key", ["a", "!" * 128, "0f8fad5b-d9cb-469f-a165-70867728950e"])
def test_a_visible_key_is_taken_as_it_is(key: str) -> None:
    assert checked_key(key) == key


def test_a_missing_key_is_made_up_anew_each_time() -> None:
    assert checked_key("") != checked_key("")


@pytest.mark.parametrize("key", ["a b", "\0", "é", "x" * 129, "a\n"])
def test_a_key_that_cannot_be_a_header_is_refused_by_name(key: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^idempotency_key"):
        checked_key(key)


def test_a_key_stands_for_one_operation_of_one_owner_and_kind() -> None:
    ids = {operation_id(kind, owner, "k") for kind in ("pull", "buy") for owner in ("a", "b")}
    assert len(ids) == 4
    assert operation_id("pull", "a", "k") in ids


def test_pages_have_a_default_and_a_bound() -> None:
    assert checked_page_size(0, default=50, maximum=100) == 50
    assert checked_page_size(100, default=50, maximum=100) == 100
    for wrong in (-1, 101):
        with pytest.raises(InvalidArgument, match=r"^page_size must be 1 to 100"):
            checked_page_size(wrong, default=50, maximum=100)


@pytest.mark.parametrize("token", ["x", "-1", "1.5", "9" * 17, "²", str(2**53 + 1)])
def test_a_page_token_that_was_not_given_is_refused_by_name(token: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^page_token"):
        key_of(token)


def test_a_page_token_is_the_last_key() -> None:
    assert key_of("") is None
    assert key_of("17") == 17


def test_a_gid_tells_its_age_and_stays_below_postgres_limit() -> None:
    gid = new_gid("gacha_svc-1", 1000.0)
    assert gid_age_seconds(gid, 1031.5) == 31.5
    assert len(f"account/{gid}".encode()) < 200


def test_the_remaining_time_is_passed_on_as_the_deadline() -> None:
    now = [100.0]
    deadline = Deadline.after(5, clock=lambda: now[0])
    now[0] = 103.0
    assert deadline.remaining_seconds() == 2
    assert deadline.shortened_to(1).remaining_seconds() == 1
    assert deadline.shortened_to(9).remaining_seconds() == 2
    now[0] = 105.0
    assert deadline.is_over()
    with pytest.raises(DeadlineExceeded):
        deadline.check()
    assert Deadline.after(1).remaining_seconds() <= 1 < time.monotonic() + 1


class EchoSettings(ServerSettings):
    SERVICE = "echo"


@pytest.mark.parametrize("listen", ["0.0.0.0:7000", "[::]:7000", "256.256.256.256:7000"])
def test_a_process_does_not_listen_where_nobody_can_call_it(
    listen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_LISTEN", listen)
    with pytest.raises(SystemExit, match=r"MESH_LISTEN: .*must have a host that others can call"):
        load(EchoSettings)


def test_every_fault_of_the_settings_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MESH_INSTANCE_ID", "has space")
    monkeypatch.setenv("MESH_LISTEN", "nowhere")
    monkeypatch.delenv("MESH_SERVICE_KEYS_DIR", raising=False)
    with pytest.raises(SystemExit) as caught:
        load(EchoSettings)
    assert caught.value.code == os.EX_CONFIG
    told = str(caught.value)
    for variable in ("MESH_INSTANCE_ID", "MESH_LISTEN", "MESH_SERVICE_KEYS_DIR"):
        assert variable in told


def test_a_bad_key_file_is_reported_with_its_variable_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("nothing")
    with pytest.raises(SystemExit, match=r"KEY_VARIABLE: .*openssl genpkey"):
        read_private_key("KEY_VARIABLE", path)


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=140))
def test_an_operation_id_is_a_uuid_of_version_5(kind: str, owner: str, key: str) -> None:
    namespace = UUID("6d1f5f0c-7a43-5d0e-9a0c-3a6f1f9b7e21")
    assert operation_id(kind, owner, key) == str(uuid5(namespace, f"{kind}\n{owner}\n{key}"))
