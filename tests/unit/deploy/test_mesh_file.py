"""mesh.json, which tools read."""

import stat
from pathlib import Path

from deploy.local import mesh_file
from deploy.local.mesh_file import Mesh

MESH: Mesh = {
    "gateway": "http://127.0.0.1:8080",
    "registries": ["127.0.0.1:18000"],
    "databases": {"account": "postgresql://account_service:secret@127.0.0.1:18001/account"},
    "readers": {"account": "postgresql://account_reader:secret@127.0.0.1:18001/account"},
    "tls": None,
    "processes": [
        {
            "name": "registry-1",
            "role": "registry",
            "pid": 7,
            "address": "127.0.0.1:18000",
            "metrics": None,
        }
    ],
}


def test_a_mesh_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "mesh.json"
    assert mesh_file.read(path) is None
    mesh_file.write(path, MESH)
    mesh_file.write(path, MESH)
    assert mesh_file.read(path) == MESH


def test_its_passwords_are_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "mesh.json"
    mesh_file.write(path, MESH)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["mesh.json"]
