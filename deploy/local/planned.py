"""The profile by which a mesh that is up would be started again."""

from dataclasses import replace

from deploy.local import mesh_file
from deploy.local.embedded_profile import EmbeddedProfile
from deploy.local.layout import Layout
from deploy.local.mesh_file import Mesh
from deploy.local.secrets import credentials
from deploy.local.secrets.mesh_certificates import certificates_for
from deploy.local.servers import etcd, ports, postgres
from deploy.local.topology import GATEWAY, PROFILES, instance_names


def planned_profile(layout: Layout, mesh: Mesh) -> EmbeddedProfile:
    """The profile of the code as it is now, with the ports that the mesh has. Nothing is started.
    Secrets that are missing are made; with TLS the certificates are renewed, as `renew` does."""
    chosen = PROFILES[mesh_file.profile_name(mesh)]
    roles = [each["role"] for each in mesh["processes"]]
    topology = replace(chosen, gateway_count=roles.count("gateway_http"), tls=bool(mesh["tls"]))
    kept = ports.remembered(layout.ports) | {GATEWAY: mesh_file.gateway_port(mesh)}
    return EmbeddedProfile(
        layout,
        # A process that is new to the mesh has no port yet; its settings take any.
        {name: kept.get(name, ports.LOWEST) for name in instance_names(topology)},
        credentials.load_or_make(layout),
        postgres.choose_server_user(layout.postgres),
        topology,
        certificates_for(layout, topology),
        etcd.binary() if topology.etcd_members() else None,
    )
