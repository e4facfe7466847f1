"""A whole mesh with TLS=1: everything works with TLS, and nothing without it."""

import contextlib
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from deploy.local.layout import REPOSITORY
from deploy.local.secrets.certificates import make_authority, now_utc
from proof import players
from proof.clients.grpcurl_client import transport_options
from proof.clients.rest_client import RestClient
from proof.stack import BUSY_MACHINE, RUNNER, Mesh, start_mesh
from tests.e2e import haproxy, tools

GEMS = 16_000
GEMS_WITHOUT_END = 1_000_000
"""More than a player spends while certificates are replaced, however long that takes."""
RENEWAL_COUNT = 3
TIMEOUT_SECONDS = 30.0
WITH_CERTIFICATES = ("registry", "account_svc", "gacha_svc", "gateway_http")


@pytest.fixture(scope="module")
def tls_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("tls_mesh") / "var"
    mesh = start_mesh(folder, (*RUNNER, "--tls"), environment=BUSY_MACHINE)
    yield mesh
    assert mesh.stop() == 0


@pytest.fixture(scope="module")
def tls_rest(tls_mesh: Mesh) -> Iterator[RestClient]:
    client = RestClient(tls_mesh.gateway, tls_mesh.trust)
    yield client
    client.close()


def run(mesh: Mesh, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deploy.gachactl", *command, "--folder", str(mesh.layout.folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )


def gacha_address(mesh: Mesh) -> str:
    return mesh.processes("gacha_svc")[0]["address"]


def test_a_player_buys_and_pulls_over_https(tls_mesh: Mesh, tls_rest: RestClient) -> None:
    assert tls_mesh.gateway.startswith("https://")
    player = players.register(tls_rest, GEMS)
    headers = {"authorization": f"Bearer {player.token}"}
    answer = tls_rest.http.get("/gacha/pull/standard", headers=headers)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["pulled_items"]) >= 1
    assert "max-age=" in answer.headers["strict-transport-security"]


def test_haproxy_speaks_https_to_gateways_whose_ca_it_knows_and_to_no_others(
    tls_mesh: Mesh, tmp_path: Path
) -> None:
    addresses = [each["address"] for each in tls_mesh.processes("gateway_http")]
    with (
        haproxy.running(addresses, tmp_path / "log", ca_file=tls_mesh.ca_file) as url,
        closing(RestClient(url)) as client,
    ):
        player = players.register(client, GEMS)
        headers = {"authorization": f"Bearer {player.token}"}
        answer = httpx.get(f"{url}/gacha/pull/standard", headers=headers, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 200, answer.text
    stranger = tmp_path / "ca.crt"
    stranger.write_bytes(make_authority(now_utc()).pem)
    with haproxy.running(addresses, tmp_path / "log", is_ready=False, ca_file=str(stranger)) as url:
        assert httpx.get(f"{url}/chances").json()["reason"] == "NO_GATEWAY"


def test_curl_believes_the_ca_of_the_mesh_and_no_other(tls_mesh: Mesh) -> None:
    url = f"{tls_mesh.gateway}/chances"
    believing = ["curl", "-sS", "--cacert", str(tls_mesh.ca_file), url]
    done = subprocess.run(believing, capture_output=True, check=True, timeout=TIMEOUT_SECONDS)
    assert b"chances" in done.stdout
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(url, trust_env=False, verify=ssl.create_default_context())


def test_plain_http_is_refused(tls_mesh: Mesh) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{tls_mesh.gateway.replace('https', 'http')}/chances", trust_env=False)


def grpcurl(mesh: Mesh, options: list[str], role: str) -> "subprocess.CompletedProcess[str]":
    address = mesh.processes(role)[0]["address"]
    return subprocess.run(
        [tools.grpcurl(), *options, address, "grpc.health.v1.Health/Check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )


@pytest.mark.parametrize("role", ["registry", "account_svc", "gacha_svc"])
def test_grpcurl_is_let_in_with_a_certificate_and_refused_without(
    tls_mesh: Mesh, role: str
) -> None:
    options = transport_options(tls_mesh.operator_files)
    assert "SERVING" in grpcurl(tls_mesh, options, role).stdout
    for refused in (["-plaintext"], ["-cacert", str(tls_mesh.ca_file)]):
        done = grpcurl(tls_mesh, refused, role)
        assert done.returncode != 0
        assert "Failed to dial target host" in done.stderr


@pytest.mark.parametrize("target", ["gacha", "account", "registry", "gacha_svc"])
def test_clients_of_other_languages_find_the_mesh_by_xds(
    tls_mesh: Mesh, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRPC_XDS_BOOTSTRAP", str(tls_mesh.layout.xds))
    options = transport_options(tls_mesh.operator_files)
    command = [tools.grpcurl(), *options, f"xds:///{target}", "list"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    assert "grpc.health.v1.Health" in done.stdout, done.stderr


def test_operators_see_and_settle_as_ever(tls_mesh: Mesh) -> None:
    for command, told in (
        (("status",), "healthy"),
        (("tx", "list"), "No transaction is in flight"),
        (("sagas", "list"), "No saga is under way"),
    ):
        done = run(tls_mesh, *command)
        assert done.returncode == 0, done.stderr
        assert told in done.stdout


def test_a_command_without_a_certificate_reports_it(
    tls_mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_REGISTRIES", tls_mesh.registry)
    monkeypatch.setenv("MESH_SERVICE_KEY_FILE", str(tls_mesh.layout.admin_key))
    done = run(tls_mesh, "tx", "list")
    assert done.returncode != 0
    assert "without TLS (MESH_TLS_DIR is not set)" in done.stderr
    monkeypatch.setenv("MESH_TLS_DIR", str(tls_mesh.layout.certificates / "operator"))
    assert run(tls_mesh, "tx", "list").returncode == 0


class Asking:
    """Players who pull in their own threads, and count the results."""

    def __init__(self, mesh: Mesh, rest: RestClient, count: int) -> None:
        self._mesh = mesh
        self._is_over = threading.Event()
        self.done_count = 0
        self.failures: list[str] = []
        tokens = [players.register(rest, GEMS_WITHOUT_END).token for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._keep_pulling, args=(token,)) for token in tokens
        ]

    def _keep_pulling(self, token: str) -> None:
        with closing(RestClient(self._mesh.gateway, self._mesh.trust)) as rest:
            headers = {"authorization": f"Bearer {token}"}
            while not self._is_over.is_set():
                try:
                    answer = rest.http.get("/gacha/pull/standard", headers=headers)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code == 200:
                    self.done_count += 1
                else:
                    self.failures.append(answer.text)
                sleep(0.02)

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in self._threads:
                thread.join()


def renewed_count(mesh: Mesh) -> int:
    """The number of log lines about a loaded certificate."""
    logs = [path.read_text() for path in Path(mesh.layout.logs).glob("*-[0-9].log")]
    return sum(text.count('"event":"renew_certificate"') for text in logs)


def test_no_pull_fails_while_every_certificate_is_replaced(
    tls_mesh: Mesh, tls_rest: RestClient
) -> None:
    asking = Asking(tls_mesh, tls_rest, 4)
    # The gateway loads two: for REST, and for the mesh.
    wanted = 1 + sum(len(tls_mesh.processes(role)) for role in WITH_CERTIFICATES)
    with asking.going_on():
        for number in range(RENEWAL_COUNT):
            seen, before = asking.done_count, renewed_count(tls_mesh)
            assert run(tls_mesh, "renew").returncode == 0
            deadline = monotonic() + TIMEOUT_SECONDS
            while renewed_count(tls_mesh) < before + wanted or asking.done_count < seen + 20:
                assert monotonic() < deadline, f"renewal {number} was not taken by all"
                sleep(0.05)
    assert asking.failures == []


def test_a_killed_instance_comes_back_into_the_mesh(tls_mesh: Mesh, tls_rest: RestClient) -> None:
    tls_mesh.kill_process("gacha_svc-1")
    player = players.register(tls_rest, GEMS)
    headers = {"authorization": f"Bearer {player.token}"}
    assert tls_rest.http.get("/gacha/pull/standard", headers=headers).status_code == 200
    deadline = monotonic() + TIMEOUT_SECONDS
    while run(tls_mesh, "status").returncode != 0:
        assert monotonic() < deadline, "it did not become healthy again"


def test_a_rolling_restart_works_over_tls(tls_mesh: Mesh) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.gachactl", "roll", "--folder", str(tls_mesh.layout.folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
