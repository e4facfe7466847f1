"""The settings of each process, in the profiles on one machine."""

import time
from itertools import count
from pathlib import Path

import pytest

from deploy.local.embedded_profile import STOP_ORDER, EmbeddedProfile
from deploy.local.layout import Layout
from deploy.local.secrets.credentials import Credentials
from deploy.local.secrets.mesh_certificates import certificates_for
from deploy.local.servers.databases import role_names
from deploy.local.servers.server_user import ServerUser
from deploy.local.supervision.processes import ProcessSpec
from deploy.local.topology import DATABASES, PROFILES, Topology, instance_names
from mesh.tls.material import TlsFiles, read_material

PASSWORDS = {
    role: f"password-of-{role}" for database in DATABASES.values() for role in role_names(database)
}


def profile_of(topology: Topology, folder: Path) -> EmbeddedProfile:
    return EmbeddedProfile(
        Layout(folder),
        dict(zip(instance_names(topology), count(18_000), strict=False)),
        Credentials(
            folder / "payment_secret_key", folder / "payment_webhook_secret", "s3cret", PASSWORDS
        ),
        ServerUser("self", 1000, 1000),
        topology,
        certificates_for(Layout(folder), topology),
        Path("/usr/bin/etcd"),
    )


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddedProfile:
    """Each profile in turn."""
    return profile_of(PROFILES[request.param], tmp_path)


@pytest.fixture
def ha_profile(tmp_path: Path) -> EmbeddedProfile:
    return profile_of(PROFILES["ha"], tmp_path)


def everything(profile: EmbeddedProfile) -> list[ProcessSpec]:
    return [
        *profile.data_tier(),
        *profile.registries(),
        *profile.services(),
        *profile.gateways(),
        profile.payment_sandbox(),
    ]


def test_every_process_has_a_name_an_address_and_a_log_of_its_own(
    profile: EmbeddedProfile,
) -> None:
    specs = everything(profile)
    assert len(specs) == 10 + 5 * bool(profile.topology.etcd_count)
    for own in ({spec.name for spec in specs}, {spec.address for spec in specs}):
        assert len(own) == len(specs)
    assert len({spec.log for spec in specs}) == len(specs)


def test_every_role_is_stopped_once(profile: EmbeddedProfile) -> None:
    stopped = [role for roles in STOP_ORDER for role in roles]
    assert len(stopped) == len(set(stopped))
    assert set(stopped) >= {spec.role for spec in everything(profile)}


def test_services_get_databases_of_their_own(profile: EmbeddedProfile) -> None:
    for spec in profile.services():
        database = spec.role.removesuffix("_svc")
        port = profile.ports[f"postgres-{database}"]
        user = f"{database}_service:password-of-{database}_service"
        expected = f"postgresql://{user}@127.0.0.1:{port}/{database}"
        assert spec.environment["DATABASE_URL"] == expected
        knows_account_key = "ACCOUNT_SIGNING_KEYS_DIR" in spec.environment
        assert knows_account_key is (spec.role == "account_svc")


def test_every_process_holds_the_key_of_its_own_service_alone(profile: EmbeddedProfile) -> None:
    for spec in (*profile.services(), *profile.gateways()):
        own = profile.layout.service_key(spec.role)
        assert spec.environment["MESH_SERVICE_KEY_FILE"] == str(own)
    for spec in profile.registries():
        assert "MESH_SERVICE_KEY_FILE" not in spec.environment
    for spec in (*profile.registries(), *profile.services()):
        assert spec.environment["MESH_SERVICE_KEYS_DIR"] == str(profile.layout.public_keys)


def test_init_db_is_open_where_users_were_promised_so_alone(profile: EmbeddedProfile) -> None:
    told = {spec.environment.get("GACHA_INIT_DB") for spec in profile.services()}
    assert told == {None, "admin" if profile.topology.etcd_count else "public"}


def test_the_payment_sandbox_shares_two_secrets_with_the_account_service_and_no_key(
    profile: EmbeddedProfile,
) -> None:
    sandbox = profile.payment_sandbox()
    assert "MESH_SERVICE_KEY_FILE" not in sandbox.environment
    for spec in profile.services():
        knows = spec.role == "account_svc"
        for name in ("SECRET_KEY_FILE", "WEBHOOK_SECRET_FILE"):
            shared = (
                spec.environment.get(f"PAYMENT_{name}") == sandbox.environment[f"SANDBOX_{name}"]
            )
            assert shared is knows
        assert (spec.environment.get("PAYMENT_URL") == f"http://{sandbox.address}") is knows
    gateway = profile.gateways()[0].address
    url = f"{'https' if profile.topology.tls else 'http'}://{gateway}/webhooks/payments"
    assert sandbox.environment["SANDBOX_WEBHOOK_URL"] == url


def test_no_secret_is_on_a_command_line(profile: EmbeddedProfile) -> None:
    for spec in everything(profile):
        assert "s3cret" not in " ".join(spec.command)


def test_nothing_of_the_callers_environment_redirects_a_process(
    profile: EmbeddedProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("PGHOST", "PGOPTIONS", "http_proxy", "HTTPS_PROXY", "PYTHONPATH"):
        monkeypatch.setenv(variable, "elsewhere")
    monkeypatch.setenv("MESH_INSTANCE_ID", "elsewhere")
    monkeypatch.setenv("DATABASE_URL", "elsewhere")
    monkeypatch.setenv("REGISTRY_ETCD", "elsewhere")
    for variable in ("PAYMENT_SECRET_KEY", "SANDBOX_WEBHOOK_SECRET", "SANDBOX_LISTEN"):
        monkeypatch.setenv(variable, "elsewhere")
    unread = {
        "payment_sandbox": {"DATABASE_URL", "MESH_INSTANCE_ID"},
        "account_svc": {"SANDBOX_LISTEN"},
        "gacha_svc": {"SANDBOX_LISTEN"},
    }
    specs = [*profile.registries(), *profile.services(), *profile.gateways()]
    for spec in [*specs, profile.payment_sandbox()]:
        redirected = {
            variable for variable, value in spec.environment.items() if value == "elsewhere"
        }
        assert redirected == unread.get(spec.role, {"DATABASE_URL", "SANDBOX_LISTEN"})


def test_the_callers_log_level_is_heeded(
    profile: EmbeddedProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_LOG_LEVEL", "debug")
    assert profile.registries()[0].environment["MESH_LOG_LEVEL"] == "debug"


def test_every_instance_has_its_own_metrics_address(
    profile: EmbeddedProfile,
) -> None:
    instances = [*profile.registries(), *profile.services(), *profile.gateways()]
    addresses = {spec.metrics_address for spec in instances}
    assert len(addresses) == len(instances)
    assert not addresses & {spec.address for spec in everything(profile)}
    for spec in instances:
        assert spec.environment["MESH_METRICS_LISTEN"] == spec.metrics_address


def test_registries_of_the_ha_profile_share_one_etcd_and_everybody_knows_them_all(
    ha_profile: EmbeddedProfile,
) -> None:
    registries = ha_profile.registries()
    members = [spec for spec in ha_profile.data_tier() if spec.role == "etcd"]
    assert (len(registries), len(members)) == (3, 3)
    shared = {spec.environment["REGISTRY_ETCD"] for spec in registries}
    assert shared == {",".join(member.address for member in members)}
    known = ",".join(spec.address for spec in registries)
    for spec in [*registries, *ha_profile.services(), *ha_profile.gateways()]:
        assert spec.environment["MESH_REGISTRIES"] == known


def test_the_registry_of_the_embedded_profile_needs_no_etcd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    profile = profile_of(PROFILES["embedded"], tmp_path)
    assert {spec.role for spec in profile.data_tier()} == {"postgres", "cache"}
    assert "REGISTRY_ETCD" not in profile.registries()[0].environment


def test_with_tls_every_instance_has_a_certificate_of_its_own(tmp_path: Path) -> None:
    profile = profile_of(Topology(gateway_count=2, tls=True), tmp_path)
    instances = [*profile.registries(), *profile.services(), *profile.gateways()]
    directories = [each.environment["MESH_TLS_DIR"] for each in instances]
    assert len(set(directories)) == len(instances)
    for each in instances:
        directory = Path(each.environment["MESH_TLS_DIR"])
        read_material(TlsFiles.in_directory(directory), time.time())
        is_gateway = each.role == "gateway_http"
        assert ("GATEWAY_TLS_CERT_FILE" in each.environment) == is_gateway
    sandbox = profile.payment_sandbox().environment
    assert sandbox["SANDBOX_WEBHOOK_URL"].startswith("https://")
    assert Path(sandbox["SSL_CERT_FILE"]).stat().st_mode & 0o777 == 0o644


def test_without_tls_no_process_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_TLS_DIR", "/somebody/elses")
    monkeypatch.setenv("GATEWAY_TLS_KEY_FILE", "/somebody/elses")
    profile = profile_of(Topology(), tmp_path)
    for each in (*profile.registries(), *profile.services(), *profile.gateways()):
        assert not [name for name in each.environment if "_TLS_" in name]
