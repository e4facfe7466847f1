"""What the template process imports before it forks: packages, and the code of the mesh.

A child runs the code as it is when the child begins. `Preloaded.is_current` says whether that is
the code that was imported; if not, the child must not use what was imported.
"""

import contextlib
import importlib
import sys
from pathlib import Path

from deploy.local import source_code

RUNTIME = "mesh"
"""It is imported before gRPC, whose variables it sets."""
PACKAGES = (
    "aiohttp.web",
    "argon2",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.serialization",
    "cryptography.x509",
    "email_validator",
    "google.api.annotations_pb2",
    "google.api.httpbody_pb2",
    "google.rpc.error_details_pb2",
    "google.rpc.status_pb2",
    "greenlet",
    "grpc.aio",
    "httptools",
    "jinja2",
    "jwt",
    "orjson",
    "prometheus_client.exposition",
    "psycopg2.extras",
    "pydantic_settings",
    "redis.asyncio.cluster",
    "structlog",
    "uvloop",
    "wsgiref.simple_server",
    "yaml",
    "zxcvbn",
)
"""What the programs import; a package that is missing is left to the program that needs it."""
PROGRAMS = ("account_svc", "gacha_svc", "gateway_http", "payment_sandbox", "registry")
"""The programs of the mesh. What they import is imported, and they are not run."""


class Preloaded:
    """The code that was imported from one repository."""

    def __init__(self, repository: Path) -> None:
        """Imports everything. What cannot be imported is left to the program that needs it, which
        then says why."""
        self._repository = repository
        # Before the imports, so that a change while they run is noticed.
        self._stamps = source_code.stamps(repository)
        for name in (RUNTIME, *PACKAGES):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        for program in PROGRAMS:
            main = f"{program}.__main__"
            with contextlib.suppress(Exception):
                importlib.import_module(main)
            # It is run anew in each child, under another name.
            sys.modules.pop(main, None)

    def is_current(self) -> bool:
        """Whether the files of the code are those that were imported. It looks at the times and
        sizes of all of them, which takes some milliseconds."""
        try:
            return source_code.stamps(self._repository) == self._stamps
        except OSError:
            return False
