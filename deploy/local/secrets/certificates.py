"""The certificate authority (CA) of one mesh, and the certificates that it issues.

The CA's key never leaves the folder of secrets; a reader of that folder could pose as any process
of the mesh. A certificate is valid for a day, for clients and servers; it names this machine, and
its owner as spiffe://gacha-mesh/SERVICE. Each file is replaced atomically, but not the key and
the certificate together: a reader that finds a mismatch reads again.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.private_files import replace_file
from mesh.tls.material import TlsFiles

TRUST_DOMAIN = "gacha-mesh"
CA_LIFE = timedelta(days=365)
CA_LEFT_AT_LEAST = timedelta(days=30)
"""If the CA has less time left at the start of a run, a new CA is made."""
LEAF_LIFE = timedelta(hours=24)
CLOCKS_DIFFER_BY = timedelta(minutes=5)


def hosts_of_this_machine() -> list[str]:
    """The names and addresses that clients of this machine's processes may use."""
    return ["localhost", "127.0.0.1", "::1", socket.gethostname()]


@dataclass(frozen=True, slots=True)
class Authority:
    """Issues certificates; made by `load_or_make_authority` or `make_authority`."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The CA certificate, for those who trust this CA."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        directory: Path,
        service: str,
        hosts: Sequence[str],
        now: datetime,
        life: timedelta = LEAF_LIFE,
    ) -> TlsFiles:
        """Writes a new key, its certificate and the CA's certificate into a directory, replacing
        existing ones."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [_host(host) for host in dict.fromkeys(hosts)]
        spiffe_id = x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}/{service}")
        certificate = (
            _begun(service, self.certificate.subject, key, now, life)
            .add_extension(x509.SubjectAlternativeName([*names, spiffe_id]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, SHA256())
        )
        files = TlsFiles.in_directory(directory)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(files.key, _pem(key))
        replace_file(files.certificate, certificate.public_bytes(Encoding.PEM))
        assert files.ca is not None, "a directory has a CA"
        replace_file(files.ca, self.pem)
        return files


def load_or_make_authority(folder: Path, clock: Callable[[], datetime]) -> Authority:
    """The CA in a folder; makes a new one if there is none, or if it expires too soon.
    Idempotent; the caller holds the lock of the run."""
    key_file, certificate_file = folder / "ca.key", folder / "ca.crt"
    if key_file.exists() and certificate_file.exists():
        key = load_pem_private_key(key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "the file has an EC key"
        kept = Authority(x509.load_pem_x509_certificate(certificate_file.read_bytes()), key)
        is_pair = key.public_key() == kept.certificate.public_key()
        if is_pair and kept.certificate.not_valid_after_utc - clock() >= CA_LEFT_AT_LEAST:
            return kept
    authority = make_authority(clock())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(key_file, _pem(authority.key))
    replace_file(certificate_file, authority.pem)
    return authority


def make_authority(now: datetime, life: timedelta = CA_LIFE) -> Authority:
    """A new CA. It is not stored."""
    key = ec.generate_private_key(ec.SECP256R1())
    # CA names must differ: a client may try the wrong one of two CAs with the same name.
    number = x509.random_serial_number() % 2**32
    common_name = f"{TRUST_DOMAIN} local CA {number:08x}"
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _begun(common_name, _name(common_name), key, now, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return Authority(certificate, key)


def now_utc() -> datetime:
    return datetime.now(UTC)


def _begun(
    common_name: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_DIFFER_BY)
        .not_valid_after(now + life)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
