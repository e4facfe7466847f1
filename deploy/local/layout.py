"""The folder of a mesh, `var/` by default: the paths of everything that the runner keeps."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from mesh.contract.access import ADMIN

REPOSITORY = Path(__file__).resolve().parents[2]
"""The checkout, from which the services are imported."""

DEFAULT_FOLDER = REPOSITORY / "var"


@dataclass(frozen=True, slots=True)
class Layout:
    """`folder` is absolute; two meshes with different folders share nothing."""

    folder: Path

    @property
    def lock(self) -> Path:
        """Held locked by the runner while it runs; contains its pid."""
        return self.folder / "run.lock"

    @property
    def control(self) -> Path:
        """The socket at which a running mesh takes commands."""
        return self.folder / "control.sock"

    @property
    def mesh(self) -> Path:
        """The running processes, for tools; exists while the mesh is up."""
        return self.folder / "mesh.json"

    @property
    def xds(self) -> Path:
        """The xDS bootstrap file for gRPC clients."""
        return self.folder / "xds.json"

    @property
    def ports(self) -> Path:
        return self.folder / "ports.json"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    @property
    def admin_key(self) -> Path:
        """The key with which operators' commands call the mesh."""
        return self.service_key(ADMIN)

    @property
    def service_keys(self) -> Path:
        """The private keys of the services and of the operators."""
        return self.secrets / "service_keys"

    @property
    def public_keys(self) -> Path:
        """The public keys of the services and of the operators."""
        return self.secrets / "public_keys"

    @property
    def signing_keys(self) -> Path:
        """The keys that sign players' tokens."""
        return self.secrets / "signing_keys"

    @property
    def role_passwords(self) -> Path:
        """The passwords of the databases' roles, in one file for each role."""
        return self.secrets / "postgres"

    @property
    def etcd_password(self) -> Path:
        """The password of the registries at etcd."""
        return self.secrets / "etcd_password"

    @property
    def certificate_authority(self) -> Path:
        """The key and the certificate of the mesh's own CA."""
        return self.secrets / "ca"

    @property
    def certificates(self) -> Path:
        """The certificates, in one folder for each holder."""
        return self.secrets / "tls"

    @property
    def ca_certificate(self) -> Path:
        """The CA certificate, readable by everyone, to verify the mesh."""
        return self.folder / "ca.crt"

    @property
    def logs(self) -> Path:
        return self.folder / "log"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def etcd(self) -> Path:
        return self.folder / "etcd"

    @property
    def payment_sandbox(self) -> Path:
        return self.folder / "payment_sandbox"

    def command(self, gachactl: str, make: str = "") -> str:
        """A command for this mesh, as messages show it: "`make down` (`gachactl down`)", or
        "`gachactl down --folder FOLDER`", since make knows only the default folder. `make` is its
        target and variables where they differ from `gachactl`."""
        if self.folder == DEFAULT_FOLDER:
            return f"`make {make or gachactl}` (`gachactl {gachactl}`)"
        return f"`gachactl {gachactl} --folder {shlex.quote(str(self.folder))}`"

    def service_key(self, name: str) -> Path:
        """The private key of a service, or of mesh.contract.access.ADMIN."""
        return self.service_keys / f"{name}.pem"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def make_folders(self) -> None:
        """Idempotent. An unprivileged database user can traverse, but not read secrets or logs."""
        for folder, mode in (
            (self.folder, 0o755),
            (self.postgres, 0o755),
            (self.secrets, 0o700),
            (self.logs, 0o700),
            (self.cache, 0o700),
            (self.payment_sandbox, 0o700),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
