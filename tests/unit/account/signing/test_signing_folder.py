"""The folder of signing keys: files are added, removed and damaged while tokens are signed."""

import os
from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_p256
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from account_svc.adapters.signing_keys.choose import open_signing_keys
from account_svc.adapters.signing_keys.folder import SigningKeys
from account_svc.config import AccountSettings
from account_svc.domain.signing.signing_keys import (
    MAX_SIGNING_KEYS,
    SETTLE_SECONDS,
    State,
    file_name,
)
from mesh.identity.key_files import LOOK_SECONDS, UNKNOWN_KEY_LOOK_SECONDS, BadKeyFolder
from mesh.identity.keys import key_id

TOKEN_SECONDS = 900
OVERLAP_SECONDS = TOKEN_SECONDS + 60


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(folder: Path, clock: Clock) -> SigningKeys:
    return SigningKeys(folder, token_seconds=TOKEN_SECONDS, clock=clock, monotonic=clock)


def pem_of(key: Ed25519PrivateKey, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def name_at(moment: float) -> str:
    return file_name(datetime.fromtimestamp(moment, UTC))


def put(folder: Path, moment: float, content: bytes | None = None, mode: int = 0o600) -> str:
    """Writes a key with that creation time, or other content; returns the key's id."""
    key = Ed25519PrivateKey.generate()
    path = folder / name_at(moment)
    path.write_bytes(pem_of(key) if content is None else content)
    path.chmod(mode)
    return key_id(key.public_key())


def signs(keys: SigningKeys) -> str:
    """The id of the key that signs now."""
    kid: str = jwt.get_unverified_header(keys.sign("mira"))["kid"]
    return kid


def published(keys: SigningKeys) -> set[str]:
    return {key_id(key) for key in keys.published()}


async def test_a_key_that_comes_is_published_within_a_second_and_signs_later(
    tmp_path: Path, clock: Clock
) -> None:
    old = put(tmp_path, clock.now - 1e6)
    keys = opened(tmp_path, clock)
    new = put(tmp_path, clock.now)
    assert published(keys) == {old}
    clock.now += UNKNOWN_KEY_LOOK_SECONDS
    assert published(keys) == {old, new}
    assert await keys.find(new) is not None
    clock.now += SETTLE_SECONDS - 0.1
    assert signs(keys) == old
    clock.now += 0.1
    assert signs(keys) == new
    assert published(keys) == {old, new}


async def test_a_key_that_goes_is_accepted_no_longer_within_the_bound(
    tmp_path: Path, clock: Clock
) -> None:
    old, new = put(tmp_path, clock.now - 1e6), put(tmp_path, clock.now - 1e5)
    keys = opened(tmp_path, clock)
    assert signs(keys) == new
    (tmp_path / name_at(clock.now - 1e5)).unlink()
    clock.now += LOOK_SECONDS
    assert await keys.find(new) is None
    assert signs(keys) == old
    assert published(keys) == {old}


async def test_an_unknown_key_has_the_folder_looked_at_once_a_second_at_most(
    tmp_path: Path, clock: Clock
) -> None:
    put(tmp_path, clock.now - 1e6)
    keys = opened(tmp_path, clock)
    new = put(tmp_path, clock.now)
    assert await keys.find(new) is None
    clock.now += UNKNOWN_KEY_LOOK_SECONDS
    assert await keys.find(new) is not None


def test_the_state_of_each_key_is_listed_for_operators(tmp_path: Path, clock: Clock) -> None:
    began_at = clock.now
    old, new = put(tmp_path, began_at - 1e6), put(tmp_path, began_at - 1)
    keys = opened(tmp_path, clock)
    assert [(key.kid, key.state, key.removable_at) for key in keys.listed()] == [
        (old, State.SIGNING, None),
        (new, State.WAITING, None),
    ]
    clock.now += SETTLE_SECONDS
    first, second = keys.listed()
    assert (first.state, second.state) == (State.SUPERSEDED, State.SIGNING)
    assert second.ready_at == began_at + SETTLE_SECONDS
    assert first.removable_at == second.ready_at + OVERLAP_SECONDS
    assert (first.file_name, second.removable_at) == (name_at(began_at - 1e6), None)


def other_kind() -> bytes:
    key = generate_p256(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def locked() -> bytes:
    return pem_of(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"a password"))


BAD_CONTENT = {
    "nothing": b"",
    "garbage": b"\x00\xff" * 100_000,
    "half a key": pem_of(Ed25519PrivateKey.generate())[:60],
    "a key of another kind": other_kind(),
    "a key with a password": locked(),
}


@pytest.mark.parametrize("content", BAD_CONTENT.values(), ids=BAD_CONTENT)
async def test_a_file_that_holds_no_key_is_named_and_harms_no_other(
    tmp_path: Path, clock: Clock, content: bytes
) -> None:
    good = put(tmp_path, clock.now - 1e6)
    keys = opened(tmp_path, clock)
    put(tmp_path, clock.now, content)
    clock.now += SETTLE_SECONDS
    assert (signs(keys), published(keys)) == (good, {good})
    (fault,) = keys.faults
    assert name_at(clock.now - SETTLE_SECONDS) in fault
    assert "Ed25519" in fault
    assert published(opened(tmp_path, clock)) == {good}, "a restart must not be harmed either"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o666, 0o777], ids=oct)
def test_a_key_that_others_may_read_is_refused_until_they_may_not(
    tmp_path: Path, clock: Clock, mode: int
) -> None:
    good = put(tmp_path, clock.now - 1e6)
    keys = opened(tmp_path, clock)
    loose = put(tmp_path, clock.now, mode=mode)
    path = tmp_path / name_at(clock.now)
    clock.now += LOOK_SECONDS
    assert published(keys) == {good}
    (fault,) = keys.faults
    assert f"mode {mode:04o}" in fault
    assert "chmod 600" in fault
    path.chmod(0o600)
    clock.now += LOOK_SECONDS
    assert published(keys) == {good, loose}
    assert keys.faults == ()


def test_a_damaged_file_or_an_invalid_time_is_refused(tmp_path: Path, clock: Clock) -> None:
    good = put(tmp_path, clock.now - 1e6)
    keys = opened(tmp_path, clock)
    (tmp_path / name_at(clock.now)).mkdir()
    os.mkfifo(tmp_path / name_at(clock.now + 1))
    (tmp_path / "key.pem").write_bytes(pem_of(Ed25519PrivateKey.generate()))
    (tmp_path / ".hidden.pem").write_text("not looked at")
    (tmp_path / "notes.txt").write_text("not looked at")
    clock.now += LOOK_SECONDS
    assert published(keys) == {good}
    assert len(keys.faults) == 3
    assert any("key.pem is not named as a key" in fault for fault in keys.faults)


def test_a_key_with_a_damaged_file_continues_to_sign(tmp_path: Path, clock: Clock) -> None:
    moment = clock.now - 1e6
    good = put(tmp_path, moment)
    keys = opened(tmp_path, clock)
    (tmp_path / name_at(moment)).write_text("half a ke")
    clock.now += LOOK_SECONDS
    assert signs(keys) == good
    (fault,) = keys.faults
    assert "the key that it held before stands" in fault


def test_the_last_keys_stay_valid_while_the_folder_is_missing(tmp_path: Path, clock: Clock) -> None:
    mounted = tmp_path / "keys"
    mounted.mkdir()
    good = put(mounted, clock.now - 1e6)
    keys = opened(mounted, clock)
    mounted.rename(tmp_path / "elsewhere")
    clock.now += LOOK_SECONDS
    assert signs(keys) == good
    mounted.mkdir()
    clock.now += LOOK_SECONDS
    assert signs(keys) == good


def test_the_same_key_in_two_files_counts_once_as_the_older(tmp_path: Path, clock: Clock) -> None:
    pem = pem_of(Ed25519PrivateKey.generate())
    put(tmp_path, clock.now - 1e6, pem)
    put(tmp_path, clock.now, pem)
    keys = opened(tmp_path, clock)
    (listed,) = keys.listed()
    assert listed.file_name == name_at(clock.now - 1e6)
    assert "once more" in keys.faults[0]


def test_the_newest_keys_are_read_where_there_are_too_many(tmp_path: Path, clock: Clock) -> None:
    kids = [put(tmp_path, clock.now + number) for number in range(MAX_SIGNING_KEYS + 2)]
    keys = opened(tmp_path, clock)
    assert published(keys) == set(kids[2:])
    assert len(keys.faults) == 2


def test_a_process_does_not_start_without_a_key(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(BadKeyFolder, match=r"holds no key.*openssl genpkey"):
        opened(tmp_path, clock)
    with pytest.raises(BadKeyFolder, match=r"cannot be read.*openssl genpkey"):
        opened(tmp_path / "missing", clock)
    put(tmp_path, clock.now, mode=0o644)
    with pytest.raises(BadKeyFolder, match=r"may be read by others.*openssl genpkey"):
        opened(tmp_path, clock)


def test_a_service_without_a_key_ends_and_names_the_setting(tmp_path: Path) -> None:
    settings = AccountSettings.model_construct(signing_keys_dir=tmp_path)
    with pytest.raises(SystemExit, match=r"^ACCOUNT_SIGNING_KEYS_DIR: .* holds no key.*openssl"):
        open_signing_keys(settings, TOKEN_SECONDS)
    kid = put(tmp_path, 1_800_000_000.0)
    assert [key.kid for key in open_signing_keys(settings, TOKEN_SECONDS).listed()] == [kid]
