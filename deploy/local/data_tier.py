"""Process specifications of the third-party servers: PostgreSQL, Valkey and etcd."""

import os
from pathlib import Path

from deploy.local.layout import Layout
from deploy.local.mesh_client import MeshClient
from deploy.local.observing import readiness
from deploy.local.servers import etcd, postgres, valkey
from deploy.local.servers.etcd_users import EtcdPasswords
from deploy.local.servers.ports import HOST
from deploy.local.supervision.processes import STOP_ETCD, STOP_POSTGRES, ProcessSpec
from deploy.local.topology import CACHE, database_server


def postgres_process(layout: Layout, cluster: postgres.Cluster) -> ProcessSpec:
    """The PostgreSQL server of one database; its data folder is made before the first start."""
    name = database_server(cluster.database)
    return ProcessSpec(
        name=name,
        role="postgres",
        address=f"{HOST}:{cluster.port}",
        command=cluster.command(),
        environment=postgres.environment(),
        folder=Path("/"),
        log=layout.log(name),
        make_ready=lambda: readiness.is_postgres_ready(cluster),
        before_start=lambda: postgres.prepare(cluster),
        stop_steps=STOP_POSTGRES,
    )


def etcd_process(
    layout: Layout, cluster: etcd.Cluster, name: str, passwords: EtcdPasswords, client: MeshClient
) -> ProcessSpec:
    """One etcd member. The caller has prepared the cluster."""
    address = cluster.address(name)
    return ProcessSpec(
        name=name,
        role="etcd",
        address=address,
        command=cluster.command(name),
        environment=etcd.environment(),
        folder=layout.etcd,
        log=layout.log(name),
        make_ready=lambda: readiness.is_etcd_ready(address, passwords, client),
        stop_steps=STOP_ETCD,
    )


def cache_process(layout: Layout, port: int, bus_port: int) -> ProcessSpec:
    """The cache: a cluster of one node."""
    return ProcessSpec(
        name=CACHE,
        role="cache",
        address=f"{HOST}:{port}",
        command=valkey.command(layout.cache, port, bus_port),
        environment=dict(os.environ),
        folder=layout.cache,
        log=layout.log(CACHE),
        make_ready=lambda: readiness.is_cache_ready(port),
    )
