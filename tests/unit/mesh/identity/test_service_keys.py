"""The owners of keys while files are added, changed and removed; and tokens of removed keys."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_p256
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mesh.contract.access import of_services
from mesh.errors import Unauthenticated
from mesh.identity.auth import Authenticator, Service
from mesh.identity.key_files import LOOK_SECONDS, UNKNOWN_KEY_LOOK_SECONDS, BadKeyFolder
from mesh.identity.keys import fixed_keys, key_id
from mesh.identity.service_identity import SECRET_BYTES, ServiceIdentity
from mesh.identity.service_keys import ServiceKeyFolder
from mesh.settings_loading import load
from registry.config import RegistrySettings

OF_GACHA = of_services(["gacha_svc"])


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def write(folder: Path, name: str, key: Ed25519PrivateKey) -> str:
    """Writes a public key file, and returns the key's id."""
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / name).write_bytes(pem)
    return key_id(key.public_key())


def service_of(folder: ServiceKeyFolder, kid: str) -> str:
    """The service whose key it is; empty if there is none."""
    found = folder.find(kid)
    return "" if found is None else found.service


def test_a_file_names_the_service_whose_key_it_holds(tmp_path: Path) -> None:
    names = {"gacha_svc.pem": "gacha_svc", "gacha_svc.next.pem": "gacha_svc", "admin.pem": "admin"}
    kids = {name: write(tmp_path, name, Ed25519PrivateKey.generate()) for name in names}
    (tmp_path / "notes.txt").write_text("not a key")
    (tmp_path / "..data").mkdir()
    folder = ServiceKeyFolder(tmp_path)
    assert {name: service_of(folder, kid) for name, kid in kids.items()} == names
    assert folder.find("unknown") is None


def test_a_new_key_is_known_within_a_second(tmp_path: Path, clock: Clock) -> None:
    write(tmp_path, "admin.pem", Ed25519PrivateKey.generate())
    folder = ServiceKeyFolder(tmp_path, clock)
    kid = write(tmp_path, "gacha_svc.pem", Ed25519PrivateKey.generate())
    assert folder.find(kid) is None, "made-up key ids must not have the folder read each time"
    clock.now += UNKNOWN_KEY_LOOK_SECONDS
    assert service_of(folder, kid) == "gacha_svc"


def test_a_removed_key_is_forgotten_within_the_bound(tmp_path: Path, clock: Clock) -> None:
    write(tmp_path, "admin.pem", Ed25519PrivateKey.generate())
    kid = write(tmp_path, "gacha_svc.pem", Ed25519PrivateKey.generate())
    folder = ServiceKeyFolder(tmp_path, clock)
    (tmp_path / "gacha_svc.pem").unlink()
    clock.now += LOOK_SECONDS - 0.1
    assert service_of(folder, kid) == "gacha_svc"
    clock.now += 0.1
    assert folder.find(kid) is None


def test_a_key_under_two_names_proves_neither(tmp_path: Path, clock: Clock) -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    kid, kept = write(tmp_path, "gacha_svc.pem", key), write(tmp_path, "admin.pem", other)
    folder = ServiceKeyFolder(tmp_path, clock)
    write(tmp_path, "account_svc.pem", key)
    clock.now += LOOK_SECONDS
    assert folder.find(kid) is None
    assert service_of(folder, kept) == "admin"


def test_a_file_that_turns_bad_is_left_out_and_the_others_stay(
    tmp_path: Path, clock: Clock
) -> None:
    kept = write(tmp_path, "admin.pem", Ed25519PrivateKey.generate())
    kid = write(tmp_path, "gacha_svc.pem", Ed25519PrivateKey.generate())
    folder = ServiceKeyFolder(tmp_path, clock)
    (tmp_path / "gacha_svc.pem").write_text("half a ke")
    clock.now += LOOK_SECONDS
    assert (folder.find(kid), service_of(folder, kept)) == (None, "admin")


def test_the_last_keys_stay_valid_while_the_folder_is_missing(tmp_path: Path, clock: Clock) -> None:
    mounted = tmp_path / "keys"
    mounted.mkdir()
    kid = write(mounted, "admin.pem", Ed25519PrivateKey.generate())
    folder = ServiceKeyFolder(mounted, clock)
    mounted.rename(tmp_path / "elsewhere")
    clock.now += LOOK_SECONDS
    assert service_of(folder, kid) == "admin"


def test_a_process_does_not_start_with_a_folder_that_is_not_right(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFolder, match="no public key"):
        ServiceKeyFolder(tmp_path)
    with pytest.raises(BadKeyFolder, match="cannot be read"):
        ServiceKeyFolder(tmp_path / "missing")
    key = Ed25519PrivateKey.generate()
    write(tmp_path, "admin.pem", key)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    other_kind = generate_p256(SECP256R1()).public_key()
    p256 = other_kind.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, content in (
        ("bad.pem", b"nothing"),
        ("bad.pem", private),
        ("bad.pem", p256),
        ("with-hyphen.pem", (tmp_path / "admin.pem").read_bytes()),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadKeyFolder, match=name):
            ServiceKeyFolder(tmp_path)
        (tmp_path / name).unlink()
    write(tmp_path, "gacha_svc.pem", key)
    with pytest.raises(BadKeyFolder, match="identifies neither"):
        ServiceKeyFolder(tmp_path)


def test_the_variable_and_the_remedy_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_INSTANCE_ID", "registry-1")
    monkeypatch.setenv("MESH_LISTEN", "127.0.0.1:0")
    monkeypatch.setenv("MESH_SERVICE_KEYS_DIR", str(tmp_path))
    with pytest.raises(SystemExit, match=r"MESH_SERVICE_KEYS_DIR: .*openssl pkey"):
        load(RegistrySettings)


async def test_a_token_is_refused_once_its_key_is_gone_though_it_was_remembered(
    tmp_path: Path, clock: Clock
) -> None:
    write(tmp_path, "admin.pem", Ed25519PrivateKey.generate())
    key = Ed25519PrivateKey.generate()
    write(tmp_path, "gacha_svc.pem", key)
    authenticator = Authenticator(
        "account_svc",
        player_keys=fixed_keys(),
        service_keys=ServiceKeyFolder(tmp_path, clock).find,
        clock=clock,
    )
    shown = ServiceIdentity(key, "gacha_svc", clock).towards("account_svc").metadata()
    for _ in range(2):
        assert await authenticator.authenticate(shown, OF_GACHA) == Service("gacha_svc")
    (tmp_path / "gacha_svc.pem").unlink()
    clock.now += LOOK_SECONDS
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(shown, OF_GACHA)
    assert caught.value.reason == "TOKEN_INVALID"


async def test_keys_change_with_an_overlap_and_without_a_refusal(
    tmp_path: Path, clock: Clock
) -> None:
    """Follows docs/operations.md, with tokens of the old key in use all the time."""
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    key_file, public = tmp_path / "own.pem", tmp_path / "keys"
    public.mkdir()
    write(public, "gacha_svc.pem", old)
    key_file.write_bytes(old.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    identity = ServiceIdentity(old, "gacha_svc", clock, key_file=key_file)
    credential = identity.towards("account_svc")
    authenticator = Authenticator(
        "account_svc",
        player_keys=fixed_keys(),
        service_keys=ServiceKeyFolder(public, clock).find,
        clock=clock,
    )
    first = credential.token()
    write(public, "gacha_svc.next.pem", new)
    clock.now += LOOK_SECONDS
    key_file.write_bytes(new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for _ in range(50):
        await authenticator.authenticate(credential.metadata(), OF_GACHA)
        clock.now += 1
    assert credential.token() != first
    (public / "gacha_svc.pem").unlink()
    for _ in range(50):
        await authenticator.authenticate(credential.metadata(), OF_GACHA)
        clock.now += 1


def test_the_instances_of_a_service_share_a_secret_for_each_purpose() -> None:
    key = Ed25519PrivateKey.generate()
    first, second = ServiceIdentity(key, "gacha_svc"), ServiceIdentity(key, "gacha_svc")
    secret = first.secret("draws")
    assert second.secret("draws") == secret
    assert len(secret) == SECRET_BYTES
    assert first.secret("other draws") != secret
    other = ServiceIdentity(Ed25519PrivateKey.generate(), "gacha_svc")
    assert other.secret("draws") != secret
    assert secret != key.private_bytes_raw()
