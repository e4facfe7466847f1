"""Whom an HTTP client trusts is what the environment says when the client is made."""

from pathlib import Path

import pytest

from deploy.local.secrets.certificates import make_authority, now_utc
from mesh.tls.outgoing import trusted_by_environment


def test_the_environment_of_the_process_counts_and_not_that_of_the_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_authority(now_utc())
    path = tmp_path / "ca.crt"
    path.write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    (trusted,) = trusted_by_environment().get_ca_certs()
    assert int(str(trusted["serialNumber"]), 16) == authority.certificate.serial_number
