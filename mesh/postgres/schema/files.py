"""The files of a service that say how its database must be."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Schema:
    """A folder of numbered migrations, and a file of grants."""

    migrations: Path
    grants: Path

    @classmethod
    def in_folder(cls, folder: Path) -> "Schema":
        """Those of a service's package."""
        return cls(folder / "migrations", folder / "grants.toml")
