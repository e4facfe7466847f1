"""Certificates of a mesh's instances and of its operator, renewed while the mesh runs.

All are issued anew at each start and every eight hours, so that every certificate always has at
least a third of its day left. Their users watch the files and reload them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from deploy.local.errors import LocalRunError
from deploy.local.layout import Layout
from deploy.local.mesh_client import PLAIN_CLIENT, MeshClient, with_certificates
from deploy.local.mesh_file import Tls
from deploy.local.secrets.certificates import (
    hosts_of_this_machine,
    load_or_make_authority,
    now_utc,
)
from deploy.local.topology import Topology
from mesh.private_files import replace_file
from mesh.tls.certificates import Certificates
from mesh.tls.material import TlsFiles

OPERATOR = "operator"
RENEWAL_SECONDS = 8 * 3600.0


class PlainText:
    """A mesh without certificates: no settings, no files."""

    client: MeshClient = PLAIN_CLIENT
    """The client with which the runner calls the mesh."""
    operator_files: TlsFiles | None = None

    def settings_of(self, name: str) -> dict[str, str]:
        """Settings that make an instance use mutual TLS with its certificate."""
        return {}

    def https_settings_of(self, name: str) -> dict[str, str]:
        """Settings that make a gateway serve HTTPS."""
        return {}

    def trust_settings(self) -> dict[str, str]:
        """Settings that make a program outside the mesh trust its gateways."""
        return {}

    def etcd_files(self, members: Sequence[str]) -> dict[str, TlsFiles]:
        """The certificates of etcd's members by their names."""
        return {}

    def etcd_trust_settings(self) -> dict[str, str]:
        """Settings that make a registry use TLS to etcd."""
        return {}

    def described(self) -> Tls | None:
        """The entry `tls` of mesh.json."""
        return None

    def renew(self) -> int:
        """Issues all certificates anew, and returns their number. Raises LocalRunError."""
        raise LocalRunError(
            "This mesh has no certificates: it was started without --tls (make: TLS=1)."
        )

    async def keep_renewing(self, say: Callable[[str], None]) -> None:
        """Renews them until it is cancelled. Reports a failure, and tries again next time."""


class MeshCertificates(PlainText):
    """Made before any process is started; the caller holds the layout's lock."""

    def __init__(
        self,
        layout: Layout,
        services: Mapping[str, str],
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        """Issues all certificates. `services` maps the name of each instance to its service."""
        self._layout = layout
        self._clock = clock
        self._owners = {**services, OPERATOR: OPERATOR}
        self._authority = load_or_make_authority(layout.certificate_authority, clock)
        replace_file(layout.ca_certificate, self._authority.pem, mode=0o644)
        self._issue()
        self.operator_files = self._files(OPERATOR)
        self._operators = Certificates(self.operator_files)
        self.client = with_certificates(self._operators, layout.ca_certificate)

    def settings_of(self, name: str) -> dict[str, str]:
        return {"MESH_TLS_DIR": str(self._directory(name))}

    def https_settings_of(self, name: str) -> dict[str, str]:
        files = self._files(name)
        return {
            "GATEWAY_TLS_CERT_FILE": str(files.certificate),
            "GATEWAY_TLS_KEY_FILE": str(files.key),
        }

    def trust_settings(self) -> dict[str, str]:
        return {"SSL_CERT_FILE": str(self._layout.ca_certificate)}

    def etcd_files(self, members: Sequence[str]) -> dict[str, TlsFiles]:
        return {name: self._files(name) for name in members}

    def etcd_trust_settings(self) -> dict[str, str]:
        return {"REGISTRY_ETCD_CA_FILE": str(self._layout.ca_certificate)}

    def described(self) -> Tls:
        return {
            "ca": str(self._layout.ca_certificate),
            "operator": str(self._directory(OPERATOR)),
        }

    def renew(self) -> int:
        self._issue()
        self._operators.look_again()
        return len(self._owners)

    async def keep_renewing(self, say: Callable[[str], None]) -> None:
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            try:
                await asyncio.to_thread(self.renew)
            except OSError as error:
                say(f"The certificates could not be renewed: {error}.")

    def _directory(self, name: str) -> Path:
        return self._layout.certificates / name

    def _files(self, name: str) -> TlsFiles:
        return TlsFiles.in_directory(self._directory(name))

    def _issue(self) -> None:
        hosts = hosts_of_this_machine()
        for name, service in self._owners.items():
            called = [*hosts, *_names_of(service)]
            self._authority.issue(self._directory(name), service, called, self._clock())


def _names_of(service: str) -> list[str]:
    """The host names that xDS clients check: gacha_svc also has the name gacha."""
    return [service, service.removesuffix("_svc")]


def certificates_for(layout: Layout, topology: Topology) -> PlainText:
    """Issues the certificates of every instance of a topology; PlainText if it has no TLS."""
    if not topology.tls:
        return PlainText()
    named = [("gateway_http", name) for name in topology.gateways()]
    named += [("registry", name) for name in topology.registries()]
    named += [("etcd", name) for name in topology.etcd_members()]
    return MeshCertificates(layout, {name: role for role, name in (*named, *topology.services())})
