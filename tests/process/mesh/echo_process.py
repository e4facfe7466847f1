"""The echo server as a process that tests kill and freeze.

`python -m tests.process.mesh.echo_process LISTEN KEY_FILE WORD [TLS_DIRECTORY]` serves until it
is killed, and prints its port. A WORD that is not empty replaces the word of every request.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.identity.keys import load_private_key
from mesh.tls.certificates import Certificates
from mesh.tls.material import TlsFiles
from mesh.tls.security import PLAIN, MutualTls
from tests.unit.mesh.echo import Callers, Echo, echo_server

LOOK_SECONDS = 0.05
"""How often the server looks whether its certificate has changed."""


class EchoProcess:
    """The server process, which can be killed and frozen."""

    def __init__(
        self, callers: Callers, folder: Path, listen: str = "127.0.0.1:0", word: str = ""
    ) -> None:
        key_file = folder / "service.pem"
        key_file.write_bytes(
            callers.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        command = [sys.executable, "-m", __name__, listen, str(key_file), word]
        if callers.tls_directory is not None:
            command.append(str(callers.tls_directory))
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


async def _serve(key: Ed25519PrivateKey, listen: str, word: str, tls_directory: str = "") -> None:
    security = _followed(Path(tls_directory)) if tls_directory else PLAIN
    server = echo_server(key, Echo(word=word.encode()), listen, security=security)
    await server.start()
    print(server.port, flush=True)  # noqa: T201 (what the starter reads)
    await asyncio.Event().wait()


def _followed(tls_directory: Path) -> MutualTls:
    certificates = Certificates(TlsFiles.in_directory(tls_directory), look_seconds=LOOK_SECONDS)
    certificates.start()
    return MutualTls(certificates)


if __name__ == "__main__":
    listen, key_file, *rest = sys.argv[1:]
    uvloop.run(_serve(load_private_key(Path(key_file).read_bytes()), listen, *rest))
