"""What of the code was changed since a mesh was started."""

from functools import partial
from pathlib import Path

from deploy.local import source_code


def test_changed_added_and_removed_files_are_found_and_others_are_not(tmp_path: Path) -> None:
    others = (str(source_code.CATALOG), "mesh/__pycache__/a.pyc", "docs/a.md")
    for name in ("mesh/a.py", "mesh/b.py", "gacha_svc/migrations/0001_x.sql", *others):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("before")
    before = source_code.digests(tmp_path)
    assert source_code.changed(before, source_code.digests(tmp_path)) == []
    for name in others:
        (tmp_path / name).write_text("after")
    (tmp_path / "mesh/a.py").write_text("before")
    assert source_code.changed(before, source_code.digests(tmp_path)) == []
    (tmp_path / "mesh/a.py").write_text("after")
    (tmp_path / "mesh/b.py").unlink()
    (tmp_path / "gacha_svc/migrations/0002_y.sql").write_text("new")
    assert source_code.changed(before, source_code.digests(tmp_path)) == [
        Path("gacha_svc/migrations/0002_y.sql"),
        Path("mesh/a.py"),
        Path("mesh/b.py"),
    ]


def test_stamps_see_what_was_changed_added_or_removed_and_nothing_else(tmp_path: Path) -> None:
    for package in source_code.PACKAGES:
        (tmp_path / package / "__pycache__").mkdir(parents=True)
    code, other = tmp_path / "mesh/a.py", tmp_path / "mesh/b.py"
    others = (tmp_path / source_code.CATALOG, tmp_path / "mesh/__pycache__/a.pyc")
    for path in (code, *others):
        path.write_text("before")
    seen = [source_code.stamps(tmp_path)]
    for path in others:
        path.write_text("after")
    assert source_code.stamps(tmp_path) == seen[-1]
    for change in (partial(code.write_text, "2"), other.touch, other.unlink, code.unlink):
        change()
        seen.append(source_code.stamps(tmp_path))
        assert seen[-1] != seen[-2]


def test_every_file_that_a_process_reads_is_looked_at(repository: Path) -> None:
    seen = source_code.digests(repository)
    for name in (
        "gacha_svc/grants.toml",
        "gateway_http/pages/templates/odds.html",
        "gateway_http/pages/templates/pages.css",
        "protos/descriptors.binpb",
        "account_svc/migrations/0011_clawbacks.sql",
    ):
        assert Path(name) in seen
    assert source_code.CATALOG not in seen


def test_other_versions_of_packages_are_other_code(tmp_path: Path) -> None:
    packages = tmp_path / source_code.LOCKED_PACKAGES
    packages.parent.mkdir()
    packages.write_text("grpcio==1")
    before = source_code.digests(tmp_path)
    packages.write_text("grpcio==2")
    changed = source_code.changed(before, source_code.digests(tmp_path))
    assert changed == [source_code.LOCKED_PACKAGES]


def test_the_packages_of_this_checkout_are_looked_at(repository: Path) -> None:
    seen = {path.parts[0] for path in source_code.digests(repository)}
    assert seen == {*source_code.PACKAGES, "requirements"}


def test_many_files_are_named_by_the_first_two() -> None:
    paths = [Path(name) for name in "abcd"]
    assert source_code.in_words(paths[:1]) == "a"
    assert source_code.in_words(paths[:2]) == "a, b"
    assert source_code.in_words(paths[:3]) == "a, b and 1 more file"
    assert source_code.in_words(paths) == "a, b and 2 more files"
