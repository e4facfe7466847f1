"""How a registry is told to reach its etcd."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.local.layout import Layout
from deploy.local.secrets import credentials
from deploy.local.secrets.certificates import make_authority
from mesh.settings_loading import load
from registry.config import RegistrySettings

PASSWORD = "a long password of etcd"


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("MESH_INSTANCE_ID", "registry-1")
    monkeypatch.setenv("MESH_LISTEN", "127.0.0.1:7000")
    layout = Layout(tmp_path / "mesh")
    layout.make_folders()
    credentials.load_or_make(layout)
    monkeypatch.setenv("MESH_SERVICE_KEYS_DIR", str(layout.public_keys))
    return monkeypatch


def test_without_a_user_there_is_no_password_and_no_ca(configure: pytest.MonkeyPatch) -> None:
    settings = load(RegistrySettings)
    assert (settings.etcd_user, settings.etcd_password, settings.etcd_ca) == (None, None, None)


def test_the_password_may_be_in_a_file_and_is_never_shown(
    configure: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    configure.setenv("REGISTRY_ETCD_USER", "registry")
    configure.setenv("REGISTRY_ETCD_PASSWORD_FILE", str(file))
    settings = load(RegistrySettings)
    assert settings.etcd_password is not None
    assert settings.etcd_password.get_secret_value() == PASSWORD
    assert PASSWORD not in repr(settings)


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"REGISTRY_ETCD_USER": "registry"}, "is required"),
        ({"REGISTRY_ETCD_PASSWORD": PASSWORD}, "set REGISTRY_ETCD_USER too"),
        ({"REGISTRY_ETCD_PASSWORD_FILE": "/nowhere"}, "set REGISTRY_ETCD_USER too"),
        ({"REGISTRY_ETCD_CA_FILE": "/nowhere"}, "names no file of certificates"),
        ({"REGISTRY_ETCD_CA_FILE": "/etc/passwd"}, "names no file of certificates"),
    ],
)
def test_half_a_set_is_refused(
    configure: pytest.MonkeyPatch, variables: dict[str, str], fault: str
) -> None:
    for name, value in variables.items():
        configure.setenv(name, value)
    with pytest.raises(SystemExit, match=fault):
        load(RegistrySettings)


def test_the_ca_is_read_from_its_file(configure: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(make_authority(datetime.now(UTC)).pem)
    configure.setenv("REGISTRY_ETCD_CA_FILE", str(file))
    assert load(RegistrySettings).etcd_ca == file.read_bytes()
