"""Calls a mesh as its operator, in plain text or with a certificate."""

import contextlib
import http.client
import ssl
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from deploy.local.errors import LocalRunError
from deploy.local.mesh_file import Mesh
from mesh.calling.unary import UnaryTransport
from mesh.calls import AUTHORIZATION
from mesh.tls.certificates import Certificates
from mesh.tls.material import CertificateRefused, TlsFiles
from mesh.tls.security import PLAIN, MutualTls, Security


@dataclass(frozen=True, slots=True)
class MeshClient:
    """`security` is for gRPC. `trust` verifies the gateways' certificates; None for plain text."""

    security: Security
    trust: ssl.SSLContext | None

    def url(self, address: str) -> str:
        """The base URL of the gateway at host:port, without a trailing slash."""
        return f"{'http' if self.trust is None else 'https'}://{address}"

    def get(
        self, address: str, path: str, timeout_seconds: float, token: str = ""
    ) -> tuple[int, bytes]:
        """Sends a GET with the token; returns the status and the body. Raises OSError or
        http.client.HTTPException when there is no answer."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return self._send("GET", address, path, None, headers, timeout_seconds)

    def post(
        self, address: str, path: str, body: bytes, timeout_seconds: float
    ) -> tuple[int, bytes]:
        """Sends a POST of JSON; otherwise as `get`."""
        headers = {"content-type": "application/json"}
        return self._send("POST", address, path, body, headers, timeout_seconds)

    def _send(
        self,
        verb: str,
        address: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        timeout_seconds: float,
    ) -> tuple[int, bytes]:
        connection = (
            http.client.HTTPConnection(address, timeout=timeout_seconds)
            if self.trust is None
            else http.client.HTTPSConnection(address, timeout=timeout_seconds, context=self.trust)
        )
        with contextlib.closing(connection):
            connection.request(verb, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    async def call(
        self, address: str, method: str, request: Message, token: str, timeout_seconds: float
    ) -> bytes:
        """Calls one process (host:port) over gRPC. Raises MeshError."""
        transport = UnaryTransport(security=self.security)
        metadata = {AUTHORIZATION: f"Bearer {token}"}
        try:
            return await transport.call(
                address, method, request.SerializeToString(), metadata, timeout_seconds
            )
        finally:
            await transport.close()


PLAIN_CLIENT = MeshClient(PLAIN, None)


def with_certificates(certificates: Certificates, ca: Path) -> MeshClient:
    """A client with these certificates; `ca` is the file of the gateways' CA."""
    return MeshClient(MutualTls(certificates), ssl.create_default_context(cafile=str(ca)))


def client_of(mesh: Mesh) -> MeshClient:
    """A client with the operator's certificate that mesh.json names. Raises LocalRunError."""
    tls = mesh["tls"]
    if tls is None:
        return PLAIN_CLIENT
    try:
        certificates = Certificates(TlsFiles.in_directory(Path(tls["operator"])))
    except CertificateRefused as error:
        raise LocalRunError(f"The operator's certificate cannot be used: {error}.") from error
    return with_certificates(certificates, Path(tls["ca"]))
