"""A run of a mesh that cannot begin."""

import socket
from pathlib import Path

import psutil
import pytest

from deploy.local.errors import LocalRunError
from deploy.local.layout import Layout
from deploy.local.run import MeshRun


async def test_a_mesh_that_cannot_be_prepared_leaves_no_process(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = MeshRun(
            Layout(tmp_path / "var"),
            gateway_port=taken.getsockname()[1],
            say=print,
            on_ready=print,
        )
        with pytest.raises(LocalRunError, match="is taken"):
            await run.run()
    assert set(psutil.Process().children()) == before
