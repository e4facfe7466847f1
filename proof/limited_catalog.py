"""The packaged catalog with a limit on one banner, for a mesh of proof."""

from pathlib import Path

import yaml

from gacha_svc.config import PACKAGED_CATALOG

LIMITED_BANNER = "beginner"
CATALOG_SETTING = "GACHA_CATALOG_FILE"


def write_limited_catalog(file: Path, pull_limit: int) -> Path:
    """Writes the catalog in which a player has `pull_limit` pulls on LIMITED_BANNER; a ten-pull
    counts as ten. Returns the file."""
    catalog = yaml.safe_load(PACKAGED_CATALOG.read_text())
    [limited] = [each for each in catalog["banners"] if each["id"] == LIMITED_BANNER]
    limited["pull_limit"] = pull_limit
    file.write_text(yaml.safe_dump(catalog, sort_keys=False))
    return file
