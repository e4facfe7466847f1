"""The rarities of items, and their order."""

from enum import StrEnum


class Rarity(StrEnum):
    """How rare an item is; its value is the name that players see.

    Compare by `rank` or `at_least`: the operators `<` and `>` compare the names.
    """

    RARE = "rare"
    SUPER_RARE = "super rare"
    ULTRA_RARE = "ultra rare"

    @property
    def rank(self) -> int:
        """0 for the lowest, one more for each rarity above."""
        return len(RARITIES) - 1 - RARITIES.index(self)

    def at_least(self, other: "Rarity") -> bool:
        """Whether this rarity is `other` or a higher one."""
        return RARITIES.index(self) <= RARITIES.index(other)


RARITIES = (Rarity.ULTRA_RARE, Rarity.SUPER_RARE, Rarity.RARE)
"""Every rarity, highest first."""
