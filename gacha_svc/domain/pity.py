"""The effect of a player's earlier pulls on the next one.

Pity belongs to a player and a *kind* of banner. Banners of one kind share it, so that a player
keeps it when one banner follows another. A rarity's count restarts when that rarity or a higher
one is drawn, so `since_super_rare` never exceeds `since_ultra_rare`.
"""

from typing import NamedTuple

from gacha_svc.domain.rarities import Rarity


class Pity(NamedTuple):
    """Pity before a pull; `Pity()` is for a player without pulls.

    Five columns: two counts of pulls, at least 0, and for each rarity whether its next item is
    certain to be featured.
    """

    since_ultra_rare: int = 0
    """Pulls since the last ultra rare."""
    since_super_rare: int = 0
    """Pulls since the last super rare or ultra rare."""
    ultra_rare_guaranteed: bool = False
    super_rare_guaranteed: bool = False
    rare_guaranteed: bool = False

    def is_guaranteed(self, rarity: Rarity) -> bool:
        """Whether the next item of this rarity is certain to be featured."""
        if rarity is Rarity.ULTRA_RARE:
            return self.ultra_rare_guaranteed
        if rarity is Rarity.SUPER_RARE:
            return self.super_rare_guaranteed
        return self.rare_guaranteed

    def after(self, rarity: Rarity) -> "Pity":
        """The pity after an item of this rarity was drawn."""
        return Pity(
            0 if rarity is Rarity.ULTRA_RARE else self.since_ultra_rare + 1,
            self.since_super_rare + 1 if rarity is Rarity.RARE else 0,
            self.ultra_rare_guaranteed,
            self.super_rare_guaranteed,
            self.rare_guaranteed,
        )

    def with_guarantee(self, rarity: Rarity, guaranteed: bool) -> "Pity":
        """The pity with this rarity's guarantee set or used."""
        if rarity is Rarity.ULTRA_RARE:
            return self._replace(ultra_rare_guaranteed=guaranteed)
        if rarity is Rarity.SUPER_RARE:
            return self._replace(super_rare_guaranteed=guaranteed)
        return self._replace(rare_guaranteed=guaranteed)
