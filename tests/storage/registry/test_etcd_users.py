"""An etcd that knows its users: strangers see and change nothing, and the registry goes on."""

import random
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from deploy.local.mesh_client import PLAIN_CLIENT, MeshClient
from deploy.local.secrets.certificates import hosts_of_this_machine, make_authority
from deploy.local.servers import etcd, etcd_users
from deploy.local.servers.etcd_users import ADMINISTRATOR, KEYS, KEYS_END, REGISTRY, EtcdPasswords
from deploy.local.servers.ports import free_ports
from mesh.deadlines import Deadline
from mesh.tls.security import PLAIN
from proof.etcd_cluster import MEMBERS, EtcdCluster
from protos.etcd.v3 import etcd_pb2 as pb
from registry.adapters.etcd.client import EtcdClient, EtcdUnavailable
from registry.adapters.etcd.keys import PREFIX, Keys
from registry.adapters.etcd.store import EtcdStore
from registry.adapters.etcd.tokens import User
from tests.needs import need_etcd
from tests.storage.registry.registry_stores import A, B, Heart, Stores, until_ids
from tests.unit.registry.running import until

PASSWORDS = EtcdPasswords(administrator="the administrator's", registry="the registry's")
REGISTRYS_USER = User(REGISTRY, PASSWORDS.registry)
START_SECONDS = 60.0
CALL_SECONDS = 1.5


class SecuredEtcd:
    """Three members with users, and with TLS if there is an authority."""

    def __init__(self, cluster: EtcdCluster, authority: bytes | None, client: MeshClient) -> None:
        self.members = cluster
        self.authority = authority
        self.admin_client = client

    def client(self, user: User | None, *, is_trusting: bool = True) -> EtcdClient:
        authority = self.authority if is_trusting else None
        return EtcdClient(self.members.addresses, authority=authority, user=user)

    def ask(self, path: str, question: dict[str, str]) -> None:
        """Calls etcd's JSON gateway as the administrator."""
        trust = self.admin_client.trust
        url = f"{'http' if trust is None else 'https'}://{self.members.addresses[0]}/v3/auth"
        login = {"name": ADMINISTRATOR, "password": PASSWORDS.administrator}
        with httpx.Client(verify=trust or True, trust_env=False, timeout=10) as client:
            token = client.post(f"{url}/authenticate", json=login).json()["token"]
            headers = {"authorization": token}
            client.post(f"{url}/{path}", json=question, headers=headers).raise_for_status()

    async def wait_until_users_are_required(self) -> None:
        def are_required() -> bool:
            return all(
                etcd_users.are_required(address, PASSWORDS, self.admin_client)
                for address in self.members.addresses
            )

        await until(are_required, START_SECONDS)


@contextmanager
def started(folder: Path, *, has_tls: bool) -> Iterator[SecuredEtcd]:
    need_etcd()
    authority = make_authority(datetime.now(UTC)) if has_tls else None
    client, tls = PLAIN_CLIENT, {}
    if authority is not None:
        trust = ssl.create_default_context(cadata=authority.pem.decode())
        client = MeshClient(PLAIN, trust)
        hosts = hosts_of_this_machine()
        tls = {
            name: authority.issue(folder / name, "etcd", hosts, datetime.now(UTC))
            for name in MEMBERS
        }
    ports = free_ports(random.Random())
    cluster = EtcdCluster(
        etcd.Cluster(
            folder / "data",
            etcd.binary(),
            client_ports={name: next(ports) for name in MEMBERS},
            peer_ports={name: next(ports) for name in MEMBERS},
            tls=tls,
            is_durable=False,
        )
    )
    cluster.cluster.prepare()
    cluster.start(*MEMBERS)
    try:
        yield SecuredEtcd(cluster, authority.pem if authority else None, client)
    finally:
        cluster.kill(*MEMBERS)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "tls"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredEtcd]:
    with started(tmp_path_factory.mktemp("etcd"), has_tls=request.param) as secured:
        yield secured


@pytest.fixture
async def secured(running: SecuredEtcd) -> SecuredEtcd:
    await running.wait_until_users_are_required()
    return running


def put(key: bytes) -> pb.TxnRequest:
    operation = pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"a stranger's"))
    return pb.TxnRequest(success=[operation])


async def refusals(client: EtcdClient, key: bytes) -> list[str]:
    """What etcd says when this client reads a key, and when it writes it."""
    said = []
    for work in (
        lambda deadline: client.range(pb.RangeRequest(key=key), deadline),
        lambda deadline: client.txn(put(key), deadline),
    ):
        with pytest.raises(EtcdUnavailable) as error:
            await work(Deadline.after(CALL_SECONDS))
        said.append(error.value.message.partition("(")[2])
    await client.close()
    return said


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        (None, "etcdserver: user name is empty)."),
        (User(REGISTRY, "a guess"), "etcdserver: authentication failed, "),
        (User("nobody", PASSWORDS.registry), "etcdserver: authentication failed, "),
        (User("root", ""), "etcdserver: authentication failed, "),
    ],
    ids=["none", "wrong password", "unknown", "administrator without password"],
)
async def test_strangers_neither_see_nor_list_instances(
    secured: SecuredEtcd, user: User | None, reason: str
) -> None:
    for said in await refusals(secured.client(user), Keys().of_instance("stranger-1")):
        assert said.startswith(reason)


async def test_the_registry_may_use_its_own_keys_alone(secured: SecuredEtcd) -> None:
    for key in (b"/elsewhere", KEYS_END):
        said = await refusals(secured.client(REGISTRYS_USER), key)
        assert said == ["etcdserver: permission denied)."] * 2
    client = secured.client(REGISTRYS_USER)
    answer = await client.txn(put(Keys().of_instance("own-1")), Deadline.after(CALL_SECONDS))
    assert answer.succeeded
    await client.close()


def test_the_keys_of_the_user_are_those_of_the_registry() -> None:
    assert KEYS.decode() == PREFIX
    assert KEYS < Keys().list_id < KEYS_END
    assert KEYS < Keys().instances < Keys().instances_end < KEYS_END


async def test_who_does_not_speak_tls_is_not_answered(secured: SecuredEtcd) -> None:
    if secured.authority is None:
        client = secured.client(REGISTRYS_USER)
        await client.range(pb.RangeRequest(key=KEYS), Deadline.after(CALL_SECONDS))
        await client.close()
    else:
        for said in await refusals(secured.client(REGISTRYS_USER, is_trusting=False), KEYS):
            assert "etcdserver" not in said


async def test_the_list_goes_on_when_members_are_restarted(secured: SecuredEtcd) -> None:
    async with Stores() as stores:
        store = EtcdStore(
            secured.client(REGISTRYS_USER), prefix=f"{PREFIX}test/", lease_seconds=30.0
        )
        stores.run(store.run)
        await until(store.has_list, START_SECONDS)
        heart = Heart(await store.register(A), [store])
        stores.run(heart.run)
        for name in MEMBERS:
            secured.members.kill(name)
            secured.members.start(name)
            await secured.wait_until_users_are_required()
            await heart.beats()
        await store.register(B)
        await until_ids(store, [A.id, B.id])


async def test_a_token_that_is_refused_is_replaced(secured: SecuredEtcd) -> None:
    client = secured.client(REGISTRYS_USER)
    question = pb.RangeRequest(key=KEYS)
    await client.range(question, Deadline.after(CALL_SECONDS))
    # A change of the password, be it to the same one, ends all tokens of the user.
    secured.ask("user/changepw", {"name": REGISTRY, "password": PASSWORDS.registry})
    await client.range(question, Deadline.after(CALL_SECONDS))
    await client.close()


async def test_a_cluster_without_its_data_gets_its_users_again(secured: SecuredEtcd) -> None:
    secured.members.forget()
    await secured.wait_until_users_are_required()
    said = await refusals(secured.client(None), KEYS)
    assert said == ["etcdserver: user name is empty)."] * 2
    client = secured.client(REGISTRYS_USER)
    await client.range(pb.RangeRequest(key=KEYS), Deadline.after(CALL_SECONDS))
    await client.close()
