"""The mesh's own CA, its certificates, and their renewal."""

import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from deploy.local.errors import LocalRunError
from deploy.local.layout import Layout
from deploy.local.secrets.certificates import (
    CA_LEFT_AT_LEAST,
    CA_LIFE,
    load_or_make_authority,
    now_utc,
)
from deploy.local.secrets.mesh_certificates import certificates_for
from deploy.local.topology import Topology
from mesh.tls.material import TlsFiles, read_material


def files_of(layout: Layout, name: str) -> TlsFiles:
    return TlsFiles.in_directory(layout.certificates / name)


def leaf_of(files: TlsFiles) -> x509.Certificate:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes())


def test_the_ca_is_kept_from_run_to_run_and_replaced_before_it_ends(tmp_path: Path) -> None:
    now = now_utc()
    first = load_or_make_authority(tmp_path, lambda: now)
    assert load_or_make_authority(tmp_path, lambda: now).pem == first.pem

    def late() -> datetime:
        return now + CA_LIFE - CA_LEFT_AT_LEAST + timedelta(seconds=1)

    assert load_or_make_authority(tmp_path, late).pem != first.pem


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    certificates_for(layout, Topology(tls=True))
    keys = [*layout.secrets.rglob("*.key")]
    assert len(keys) == len([*layout.certificates.iterdir()]) + 1
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    folders = [layout.certificate_authority, *layout.certificates.iterdir()]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_a_certificate_names_its_service_and_this_machine(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    certificates_for(layout, Topology(tls=True))
    leaf = leaf_of(files_of(layout, "gacha_svc-2"))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == ["spiffe://gacha-mesh/gacha_svc"]
    assert {"localhost", "gacha", "gacha_svc"} <= set(names.get_values_for_type(x509.DNSName))
    assert "127.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))


def test_renewing_replaces_every_certificate_and_keeps_the_ca(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    certificates = certificates_for(layout, Topology(tls=True))
    names = sorted(folder.name for folder in layout.certificates.iterdir())
    assert names == [
        *("account_svc-1", "account_svc-2", "gacha_svc-1", "gacha_svc-2"),
        *("gateway_http-1", "operator", "registry-1"),
    ]
    ca = layout.ca_certificate.read_bytes()
    before = {name: leaf_of(files_of(layout, name)).serial_number for name in names}
    assert certificates.renew() == len(names)
    after = {name: leaf_of(files_of(layout, name)).serial_number for name in names}
    assert not set(before.values()) & set(after.values())
    for name in names:
        files = files_of(layout, name)
        assert files.ca is not None
        assert files.ca.read_bytes() == ca
        read_material(files, now_utc().timestamp())


def test_a_mesh_without_certificates_has_none_to_renew(tmp_path: Path) -> None:
    with pytest.raises(LocalRunError, match="TLS=1"):
        certificates_for(Layout(tmp_path), Topology()).renew()
