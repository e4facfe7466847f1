from pathlib import Path

from protos.generate import generate


def test_generated_code_is_up_to_date(tmp_path: Path, repository: Path) -> None:
    generate(tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*")}
    committed = {
        path.relative_to(repository): path.read_bytes()
        for pattern in ("*_pb2.py", "*_pb2.pyi", "*.binpb")
        for path in (repository / "protos").rglob(pattern)
    }
    assert made.keys() == committed.keys(), "run `make generate`"
    differing = [str(path) for path in made if made[path] != committed[path]]
    assert not differing, "run `make generate`"
