"""What gems cost in money, and how players may pay. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.errors import InvalidArgument

GEMS_PRICED = 100
"""The number of gems that a price is for."""
MAX_PRICE_MINOR = 10_000
"""For GEMS_PRICED gems. It keeps the largest purchase within the providers' limits."""
MAX_PURCHASE_GEMS = 1_000_000_000
MAX_QUOTES = 50
"""How many amounts one request may ask the prices of."""

_WITHOUT_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_WITH_THREE, _WITH_FOUR = "BHD IQD JOD KWD LYD OMR TND", "CLF UYW"
_DECIMALS = {
    **dict.fromkeys(_WITHOUT_DECIMALS.split(), 0),
    **dict.fromkeys(_WITH_THREE.split(), 3),
    **dict.fromkeys(_WITH_FOUR.split(), 4),
}
"""The decimals of the currencies that have not two (ISO 4217, list one)."""


@dataclass(frozen=True, slots=True)
class Price:
    """The price of GEMS_PRICED gems, in the smallest unit of `currency` (ISO 4217)."""

    amount_minor: int
    currency: str

    def of(self, amount_gems: int) -> int:
        """The price of `amount_gems`, rounded up to the whole unit."""
        return -(-amount_gems * self.amount_minor // GEMS_PRICED)


@dataclass(frozen=True, slots=True)
class Quote:
    """What an amount of gems costs; `price` is `price_minor` as people write it."""

    amount_gems: int
    price_minor: int
    price: str


@dataclass(frozen=True, slots=True)
class PriceList:
    """The prices in force. `packages_gems` are the amounts that the shop offers, ascending;
    `payment_methods` are in the order in which players see them."""

    price: Price
    packages_gems: tuple[int, ...]
    payment_methods: tuple[str, ...]

    def quotes(self, amounts_gems: Sequence[int]) -> tuple[Quote, ...]:
        """The price of each amount, in their order; of the packages if there is none. Raises
        InvalidArgument naming amounts."""
        if len(amounts_gems) > MAX_QUOTES or any(
            not 1 <= amount <= MAX_PURCHASE_GEMS for amount in amounts_gems
        ):
            raise InvalidArgument.of_field(
                "amounts",
                f"must be at most {MAX_QUOTES} amounts of 1 to {MAX_PURCHASE_GEMS:,} whole gems",
            )
        return tuple(self._quote(amount) for amount in amounts_gems or self.packages_gems)

    def _quote(self, amount_gems: int) -> Quote:
        price_minor = self.price.of(amount_gems)
        return Quote(amount_gems, price_minor, decimal_text(price_minor, self.price.currency))


def decimal_text(amount_minor: int, currency: str) -> str:
    """An amount in the smallest unit of a currency as people write it: 1584 of USD is "15.84"."""
    decimals = _DECIMALS.get(currency, 2)
    if not decimals:
        return str(amount_minor)
    digits = f"{amount_minor:0{decimals + 1}d}"
    return f"{digits[:-decimals]}.{digits[-decimals:]}"
