"""Makes the generated code beside each proto: `python -m protos.generate`.

`generate(into)` writes to any folder, so that a test can compare the committed code with the
protos. Code for third-party protos that we call is generated too; they are not part of our
API, so the descriptor set does not contain them.
"""

import sys
from pathlib import Path

import google.api
from grpc_tools import protoc

from protos import DESCRIPTORS

ROOT = Path(__file__).resolve().parent.parent
OURS = "protos/*/v1/*.proto"
OF_OTHERS = "protos/etcd/v3/*.proto"
WELL_KNOWN = Path(protoc.__file__).parent / "_proto"


def generate(into: Path) -> None:
    """Writes *_pb2.py and *_pb2.pyi for every proto, and protos/descriptors.binpb with the
    comments of our own for the OpenAPI document. Raises SystemExit when protoc refuses.
    """
    (into / "protos").mkdir(parents=True, exist_ok=True)
    descriptors = into / DESCRIPTORS.relative_to(ROOT)
    _compile(OURS, into, f"--descriptor_set_out={descriptors}", "--include_source_info")
    _compile(OF_OTHERS, into)


def _compile(pattern: str, into: Path, *options: str) -> None:
    google_api = Path(next(iter(google.api.__path__))).parent.parent
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"-I{WELL_KNOWN}",
        f"-I{google_api}",
        f"--plugin=protoc-gen-mypy={Path(sys.executable).parent / 'protoc-gen-mypy'}",
        f"--python_out={into}",
        f"--mypy_out=quiet:{into}",
        *options,
        *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused the protos: its message above names the line.")


if __name__ == "__main__":
    generate(ROOT)
