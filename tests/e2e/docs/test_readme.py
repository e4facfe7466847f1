"""The examples of the README and of other pages work as they are written, in order, in one
shell."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.layout import REPOSITORY
from proof.stack import Mesh
from tests.e2e import tools
from tests.e2e.docs.readme import Example, examples, unmarked_calls

README = REPOSITORY / "README.md"
PAGES = ("docs/sessions.md",)
"""Others whose examples begin with nothing but a mesh."""
ADDRESS = "http://127.0.0.1:8080"
MESH_FILE = "var/mesh.json"
XDS_FILE = "var/xds.json"
FOLDER = "--folder var"
WRITTEN_GACHACTL = ".venv/bin/gachactl"
GACHACTL = Path(sys.executable).with_name("gachactl")
LONG_AND_SHORT_LOAD = ("-n 1000 ", "-n 100 ")
"""One player's pulls go one after another: a tenth of them shows as much."""
PASTED_COUNT = 2
"""How often each block is pasted; a reader may paste one again."""
SECRETS = "var/secrets/"
TIMEOUT_SECONDS = 120
_END = "=== end of example"


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text()


@pytest.fixture(scope="module")
def output(mesh: Mesh, readme: str) -> dict[Example, str]:
    return output_of(mesh, readme)


def output_of(mesh: Mesh, page: str) -> dict[Example, str]:
    """The output of each example of a page. Examples that need a missing program are skipped."""
    programs, kinds = find_programs()
    run = [example for example in examples(page) if example.kind in kinds]
    script = "".join(
        f"{example.script * PASTED_COUNT}\necho; echo '{_END} {number}'\n"
        for number, example in enumerate(run)
    )
    for written, meant in (
        (ADDRESS, mesh.gateway),
        (MESH_FILE, str(mesh.layout.mesh)),
        (SECRETS, f"{mesh.layout.secrets}/"),
        (XDS_FILE, str(mesh.layout.xds)),
        (WRITTEN_GACHACTL, str(GACHACTL)),
        (FOLDER, f"--folder {mesh.layout.folder}"),
        LONG_AND_SHORT_LOAD,
    ):
        script = script.replace(written, meant)
    bash = shutil.which("bash")
    assert bash is not None, "the README's examples are for bash"
    done = subprocess.run(
        [bash, "-euo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
        cwd=REPOSITORY,
        env={
            "PATH": os.pathsep.join([*map(str, programs), "/usr/local/bin", "/usr/bin", "/bin"]),
            "HOME": str(mesh.layout.folder),
            "LANG": "C.UTF-8",
        },
    )
    printed = re.split(rf"^{_END} \d+\n", done.stdout, flags=re.MULTILINE)
    assert done.returncode == 0, (
        f"example {len(printed)} of {len(run)} failed:\n"
        f"{run[len(printed) - 1].script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )
    return dict(zip(run, printed, strict=False))


def find_programs() -> tuple[list[Path], set[str]]:
    """The folders of what is installed, and the kinds of examples that can run with it."""
    folders: list[Path] = []
    kinds = {"rest"}
    if GACHACTL.exists():
        kinds.add("gachactl")
    for kind, find in (("grpc", tools.grpcurl), ("ghz", tools.ghz)):
        try:
            folders.append(Path(find()).parent)
        except pytest.skip.Exception:
            # Later examples may use the variables of earlier ones.
            break
        kinds.add(kind)
    return folders, kinds


def test_readme_starts_with_the_two_commands_and_has_examples(readme: str) -> None:
    first_screen = "\n".join(readme.splitlines()[:60])
    assert "make up" in first_screen
    assert "make test" in first_screen
    assert {example.kind for example in examples(readme)} == {"rest", "grpc", "ghz", "gachactl"}


def test_every_call_that_the_readme_shows_is_run_here(readme: str) -> None:
    assert unmarked_calls(readme) == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="left out: curl is not installed")
@pytest.mark.parametrize("kind", ["rest", "grpc", "ghz", "gachactl"])
def test_examples_print_the_expected_output(
    request: pytest.FixtureRequest, readme: str, kind: str
) -> None:
    if kind in ("grpc", "ghz"):
        tools.grpcurl()
    if kind == "ghz":
        tools.ghz()
    if kind == "gachactl" and not GACHACTL.exists():
        pytest.skip("left out: gachactl is not installed beside the interpreter")
    output: dict[Example, str] = request.getfixturevalue("output")
    wanted = [example for example in examples(readme) if example.kind == kind]
    assert wanted
    for example in wanted:
        for part in example.expected:
            assert part in output[example], f"{example.script}\nprinted\n{output[example]}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="left out: curl is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_examples_of_other_pages_print_the_expected_output(mesh: Mesh, page: str) -> None:
    text = (REPOSITORY / page).read_text()
    assert unmarked_calls(text) == []
    printed = output_of(mesh, text)
    assert printed
    for example, said in printed.items():
        for part in example.expected:
            assert part in said, f"{example.script}\nprinted\n{said}"
