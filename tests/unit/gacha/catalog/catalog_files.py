"""A small catalog file, and the faults that the reader reports."""

import pytest

from gacha_svc.adapters.catalog_file.catalog import parse_catalog
from gacha_svc.domain.errors import InvalidCatalog
from mesh.errors import Code

SMALL = """\
items:
  - {id: 1, name: Sun, rarity: ultra rare}
  - {id: 2, name: Moon, rarity: ultra rare}
  - {id: 3, name: Star, rarity: super rare}
  - {id: 4, name: No, rarity: rare}
banners:
  - id: standard
    name: Sky
    description: All of it.
    kind: standard
    price_gems: 160
    pull_counts: [1, 10]
    pull_limit: 0
    ten_pull_guarantee: super rare
    rules:
      - rarity: ultra rare
        base_rate: 0.6
        soft_pity:
          from_pull: 74
          step: 6
        hard_pity: 90
        featured: {item_ids: [1], share: 50}
        item_ids: [2]
      - rarity: super rare
        base_rate: 5.1
        item_ids: [3]
      - rarity: rare
        base_rate: 94.3
        item_ids: [4]
"""


SECOND_BANNER = SMALL[SMALL.index("  - id: standard") :].replace("id: standard", "id: second")


def faults_of(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(InvalidCatalog) as refused:
        parse_catalog(text, "catalog.yaml")
    assert refused.value.code is Code.FAILED_PRECONDITION
    assert refused.value.reason == "INVALID_CATALOG"
    assert len(refused.value.message) < 3_100
    told = refused.value.message.split("\n")
    assert tuple(told) == refused.value.faults or told[-1] == "and more; correct these first"
    return refused.value.faults


RULES = "banners[0].rules"
