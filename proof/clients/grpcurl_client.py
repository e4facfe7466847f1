"""The real grpcurl, with no proto files."""

import json
import subprocess
from collections.abc import Mapping

import grpc

from mesh.tls.material import TlsFiles
from proof.clients.answers import Answer, as_rest, good, refused
from proof.clients.client import Client, Request
from proof.clients.reflected import ReflectedServer

TIMEOUT_SECONDS = 20
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


class GrpcurlClient(Client):
    """`program` is grpcurl's path. `addresses` has a host:port for each service. `files` are
    those of the client certificate."""

    def __init__(
        self, program: str, addresses: Mapping[str, str], files: TlsFiles | None = None
    ) -> None:
        self._program = program
        self._transport = transport_options(files)
        # Only for the types of the numbers in grpcurl's JSON; grpcurl makes the calls.
        self._servers = {
            name: ReflectedServer(address, files) for name, address in addresses.items()
        }

    def call(self, method: str, request: Request, token: str = "") -> Answer:
        server = self._servers[method.partition("/")[0]]
        command = [self._program, *self._transport, "-emit-defaults", "-format-error"]
        command += ["-max-time", str(TIMEOUT_SECONDS), "-d", "@"]
        if token:
            command += ["-H", f"authorization: Bearer {token}"]
        done = subprocess.run(
            [*command, server.address, method],
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
            timeout=TIMEOUT_SECONDS * 2,
        )
        if done.returncode == 0:
            document = json.loads(done.stdout)
            return good(as_rest(server.method(method).output_type, document), done.stdout)
        return _refusal(done.stderr)

    def close(self) -> None:
        for server in self._servers.values():
            server.close()


def transport_options(files: TlsFiles | None) -> list[str]:
    """grpcurl's options for plain text or for a certificate."""
    if files is None:
        return ["-plaintext"]
    return ["-cacert", str(files.ca), "-cert", str(files.certificate), "-key", str(files.key)]


def _refusal(error_output: bytes) -> Answer:
    """Parses the google.rpc.Status that grpcurl prints as JSON. Any other output means that the
    call itself failed."""
    assert error_output.startswith(b"{"), error_output.decode()
    status = json.loads(error_output)
    details = status.get("details", [])
    fields = tuple(
        violation["field"]
        for detail in details
        if detail["@type"] == _BAD_REQUEST
        for violation in detail["fieldViolations"]
    )
    infos = [detail for detail in details if detail["@type"] == _ERROR_INFO]
    return refused(_NAMES[status["code"]], status["message"], infos, fields, error_output)
