"""Draws with one rule broken; `mutants.py` lists them."""

import secrets

from gacha_svc.domain import rates
from gacha_svc.domain.randomness import RandomOf
from gacha_svc.use_cases.catalog_cache import CatalogCache
from gacha_svc.use_cases.draws import Draws


def super_rares_at_three_times_their_rate() -> None:
    whole = rates.shared_out

    def shared_out(ultra_rare_ppm: int, super_rare_ppm: int) -> rates.Weights:
        return whole(ultra_rare_ppm, 3 * super_rare_ppm)

    rates.shared_out = shared_out


def each_try_drawn_anew() -> None:
    whole = Draws.__init__

    def init(self: Draws, catalog: CatalogCache, random_of: RandomOf) -> None:
        whole(self, catalog, lambda seed: secrets.token_bytes)

    Draws.__init__ = init  # type: ignore[method-assign]
