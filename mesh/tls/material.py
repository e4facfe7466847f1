"""A process's certificate, key and CA, read from files and validated.

The result is usable: the key matches the certificate, and the certificate is valid now. If
there is a CA, it issued the certificate, which is valid for servers and for clients.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

CERTIFICATE_NAME = "tls.crt"
KEY_NAME = "tls.key"
CA_NAME = "ca.crt"
BOTH_ENDS = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)

T = TypeVar("T")


class CertificateRefused(ValueError):
    """The files are unusable; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. `certificate` has the process's own certificate first, then any intermediate
    ones. `ca` has one or more trusted certificates; it is None if peers show no certificate."""

    certificate: Path
    key: Path
    ca: Path | None

    @classmethod
    def in_directory(cls, directory: Path) -> "TlsFiles":
        """The files of a directory, named as Kubernetes and cert-manager name them."""
        return cls(directory / CERTIFICATE_NAME, directory / KEY_NAME, directory / CA_NAME)


@dataclass(frozen=True, slots=True)
class Material:
    """PEM contents. The certificate is valid from `begins_at` to `ends_at`, in seconds since
    1970."""

    certificate: bytes
    key: bytes
    ca: bytes | None
    begins_at: float
    ends_at: float


def read_material(files: TlsFiles, now: float) -> Material:
    """Reads and checks the files; `now` is in seconds since 1970.

    Raises CertificateRefused.
    """
    certificate, key = _read(files.certificate), _read(files.key)
    ca = None if files.ca is None else _read(files.ca)
    chain = _parsed(files.certificate, "certificate", x509.load_pem_x509_certificates, certificate)
    leaf = chain[0]
    _check_key(files, key, leaf)
    _check_life(files.certificate, leaf, now)
    if files.ca is not None and ca is not None:
        believed = _parsed(files.ca, "certificate", x509.load_pem_x509_certificates, ca)
        _check_issuer(files, chain, believed)
        _check_use(files.certificate, leaf)
    begins_at, ends_at = _life(leaf)
    return Material(certificate, key, ca, begins_at, ends_at)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateRefused(
            f"{path} cannot be read ({error.strerror or error}): name files that are there and "
            "that this process may read"
        ) from None


def _parsed(path: Path, what: str, parse: Callable[[bytes], T], content: bytes) -> T:
    try:
        return parse(content)
    except (ValueError, TypeError) as error:
        raise CertificateRefused(f"{path} holds no {what} in PEM form ({error})") from None


def _check_key(files: TlsFiles, content: bytes, leaf: x509.Certificate) -> None:
    key = _parsed(files.key, "private key that needs no password", _private_key, content)
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise CertificateRefused(
            f"{files.key} is not the key of the first certificate in {files.certificate}: "
            "replace both together"
        )


def _private_key(content: bytes) -> PrivateKeyTypes:
    return load_pem_private_key(content, None)


def _life(certificate: x509.Certificate) -> tuple[float, float]:
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def _check_life(path: Path, leaf: x509.Certificate, now: float) -> None:
    begins_at, ends_at = _life(leaf)
    if now >= ends_at:
        raise CertificateRefused(f"{path} expired at {_as_utc(ends_at)}: have a new one issued")
    if now < begins_at:
        raise CertificateRefused(
            f"{path} is not valid before {_as_utc(begins_at)}: look whether this machine's clock "
            "is right"
        )


def _check_issuer(
    files: TlsFiles, chain: Sequence[x509.Certificate], believed: Sequence[x509.Certificate]
) -> None:
    for issued, issuer in pairwise(chain):
        if any(_issued(issued, each) for each in believed):
            return
        if not _issued(issued, issuer):
            raise CertificateRefused(
                f"{files.certificate} must hold the process's own certificate first, and after "
                "each that of its issuer"
            )
    if not any(_issued(chain[-1], each) for each in believed):
        raise CertificateRefused(
            f"{files.certificate} was not issued by a CA in {files.ca}: the others in the mesh, "
            "who believe these, would refuse it"
        )


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_use(path: Path, leaf: x509.Certificate) -> None:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        serves = all(each in usage for each in BOTH_ENDS)
    except x509.ExtensionNotFound:
        serves = True
    if not serves:
        raise CertificateRefused(
            f"{path} must be for servers and clients alike (extended key usage serverAuth and "
            "clientAuth), for a process of the mesh is both"
        )
    try:
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        raise CertificateRefused(
            f"{path} names no host (subject alternative name): callers find there the address "
            "that they called"
        ) from None


def _as_utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
