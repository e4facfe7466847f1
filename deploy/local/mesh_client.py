"""Calls to a mesh by its operator, in plain text or with a certificate."""

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
    """`security` is for gRPC; `trust` believes the gateways' certificates, and is None where
    they have none."""

    security: Security
    trust: ssl.SSLContext | None

    def url(self, address: str) -> str:
        """Of REST at a gateway's host:port, without a slash at its end."""
        return f"{'http' if self.trust is None else 'https'}://{address}"

    def get(
        self, address: str, path: str, timeout_seconds: float, token: str = ""
    ) -> tuple[int, bytes]:
        """The status and the body of a GET, which bears the token. Raises OSError or
        http.client.HTTPException when there is no answer."""
        connection = (
            http.client.HTTPConnection(address, timeout=timeout_seconds)
            if self.trust is None
            else http.client.HTTPSConnection(address, timeout=timeout_seconds, context=self.trust)
        )
        with contextlib.closing(connection):
            headers = {"authorization": f"Bearer {token}"} if token else {}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    async def call(
        self, address: str, method: str, request: Message, token: str, timeout_seconds: float
    ) -> bytes:
        """What one process answers, host:port, over gRPC. Raises MeshError."""
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
    """As who has them; the CA of the gateways' certificates is in a file."""
    return MeshClient(MutualTls(certificates), ssl.create_default_context(cafile=str(ca)))


def client_of(mesh: Mesh) -> MeshClient:
    """As the operator whose certificate mesh.json names. Raises LocalRunError."""
    tls = mesh["tls"]
    if tls is None:
        return PLAIN_CLIENT
    try:
        certificates = Certificates(TlsFiles.in_directory(Path(tls["operator"])))
    except CertificateRefused as error:
        raise LocalRunError(f"The operator's certificate cannot be used: {error}.") from error
    return with_certificates(certificates, Path(tls["ca"]))
