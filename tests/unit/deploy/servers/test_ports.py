"""Ports stay the same from run to run, and a taken port is never assigned."""

import random
import socket
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from deploy.local.errors import LocalRunError
from deploy.local.servers import ports

NAMES = ["gateway", "registry", "cache"]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def assign(
    file: Path, fixed: dict[str, int] | None = None, said: list[str] | None = None
) -> dict[str, int]:
    return ports.assign(
        file,
        NAMES,
        fixed=fixed or {},
        randomness=random.Random(),
        say=(said if said is not None else []).append,
        release_seconds=0.0,
    )


def test_free_ports_are_different_and_free() -> None:
    found = list(islice(ports.free_ports(random.Random()), 20))
    assert len(set(found)) == 20
    assert all(ports.is_free(port) for port in found)


def test_free_ports_are_of_the_range_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ports.RANGE_VARIABLE, "18500-18600")
    found = islice(ports.free_ports(random.Random()), 20)
    assert all(18_500 <= port < 18_600 for port in found)


def test_ports_are_the_same_in_the_next_run(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    assert assign(file) == assign(file)


def test_a_remembered_port_that_was_taken_moves_and_says_so(
    tmp_path: Path, taken_port: int
) -> None:
    file = tmp_path / "ports.json"
    file.write_text(f'{{"registry": {taken_port}}}')
    said: list[str] = []
    assert assign(file, said=said)["registry"] != taken_port
    assert any(str(taken_port) in sentence and "registry" in sentence for sentence in said)


def test_a_fixed_port_that_is_taken_is_refused_with_the_remedy(
    tmp_path: Path, taken_port: int
) -> None:
    with pytest.raises(LocalRunError) as refusal:
        assign(tmp_path / "ports.json", fixed={"gateway": taken_port})
    assert str(taken_port) in str(refusal.value)
    assert "gateway" in str(refusal.value)
    assert "PORT=" in str(refusal.value)


def test_a_fixed_port_is_given_and_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    fixed = next(ports.free_ports(random.Random()))
    assert assign(file, fixed={"gateway": fixed})["gateway"] == fixed
    assert str(fixed) not in file.read_text()


def test_a_fixed_port_is_not_assigned_to_its_former_holder(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    registry = assign(file)["registry"]
    assigned = assign(file, fixed={"gateway": registry})
    assert assigned["gateway"] == registry
    assert assigned["registry"] != registry


@pytest.mark.parametrize("content", ["", "[]", "nonsense", '{"registry": "x", "cache": -1}'])
def test_a_damaged_memory_is_forgotten(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ports.json"
    file.write_text(content)
    assert sorted(assign(file)) == sorted(NAMES)
