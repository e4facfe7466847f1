"""TLS settings: all of them or none, and only usable files."""

import time
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.local.secrets.certificates import LEAF_LIFE, Authority, make_authority, now_utc
from mesh.settings_loading import load
from mesh.tls.material import CertificateRefused, TlsFiles, read_material
from mesh.tls.settings import TlsSettings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DIR", "CERT_FILE", "KEY_FILE", "CA_FILE", "SERVER_NAME"):
        monkeypatch.delenv(f"MESH_TLS_{name}", raising=False)


@pytest.fixture
def authority() -> Authority:
    return make_authority(now_utc())


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> TlsFiles:
    return authority.issue(tmp_path / "own", "gacha_svc", ["127.0.0.1"], now_utc())


def test_nothing_set_is_plain_text() -> None:
    assert load(TlsSettings).tls_files is None


def test_a_directory_names_all_three(files: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_TLS_DIR", str(files.certificate.parent))
    assert load(TlsSettings).tls_files == files


def test_three_files_are_the_same(files: TlsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_TLS_CERT_FILE", str(files.certificate))
    monkeypatch.setenv("MESH_TLS_KEY_FILE", str(files.key))
    monkeypatch.setenv("MESH_TLS_CA_FILE", str(files.ca))
    assert load(TlsSettings).tls_files == files


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("CERT_FILE", "KEY_FILE"), "MESH_TLS_CA_FILE must be set beside"),
        (("CA_FILE",), "MESH_TLS_CERT_FILE and MESH_TLS_KEY_FILE must be set beside"),
        (("DIR", "KEY_FILE"), "must not be set together with MESH_TLS_KEY_FILE"),
        (("SERVER_NAME",), "MESH_TLS_SERVER_NAME needs"),
    ],
)
def test_a_part_is_refused_by_name(
    given: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in given:
        monkeypatch.setenv(f"MESH_TLS_{name}", "mesh" if name == "SERVER_NAME" else str(tmp_path))
    with pytest.raises(SystemExit, match=told) as caught:
        load(TlsSettings)
    assert "MESH_TLS_*" in str(caught.value)


def test_files_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_TLS_DIR", str(tmp_path))
    with pytest.raises(SystemExit, match=r"tls\.crt cannot be read"):
        load(TlsSettings)


def test_a_key_of_another_certificate_is_refused(
    files: TlsFiles, authority: Authority, tmp_path: Path
) -> None:
    other = authority.issue(tmp_path / "other", "gacha_svc", ["127.0.0.1"], now_utc())
    with pytest.raises(CertificateRefused, match="is not the key of"):
        read_material(TlsFiles(files.certificate, other.key, files.ca), time.time())


def test_a_certificate_of_another_ca_is_refused(files: TlsFiles, tmp_path: Path) -> None:
    stranger = make_authority(now_utc())
    other = stranger.issue(tmp_path / "other", "gacha_svc", ["127.0.0.1"], now_utc())
    with pytest.raises(CertificateRefused, match="was not issued by a CA in"):
        read_material(TlsFiles(files.certificate, files.key, other.ca), time.time())


@pytest.mark.parametrize(
    ("shift", "told"),
    [(LEAF_LIFE * 2, "expired at"), (-timedelta(hours=1), "is not valid before")],
)
def test_a_certificate_out_of_its_time_is_refused(
    files: TlsFiles, shift: timedelta, told: str
) -> None:
    with pytest.raises(CertificateRefused, match=told):
        read_material(files, (now_utc() + shift).timestamp())


def test_a_file_that_is_not_pem_is_refused_by_name(files: TlsFiles) -> None:
    for path, what in ((files.key, "private key"), (files.certificate, "certificate")):
        path.write_text("nonsense")
        with pytest.raises(CertificateRefused, match=f"{path.name} holds no {what}"):
            read_material(files, time.time())


def test_the_lifetime_is_reported_in_seconds(files: TlsFiles) -> None:
    material = read_material(files, time.time())
    assert material.ends_at - time.time() == pytest.approx(LEAF_LIFE.total_seconds(), abs=60)
    assert material.begins_at < time.time()
