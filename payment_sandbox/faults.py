"""Faults at random, for runs in which everything goes wrong now and then.

They come on top of what a payment method does by itself, to every request about a charge
or a refund. The same seed and the same order of requests give the same faults.
"""

from random import Random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class FaultRates(BaseModel):
    """How often each fault happens, as probabilities; and the seed of the dice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slow: Probability = 0.0
    """The answer takes the sandbox's slow seconds."""
    dropped: Probability = 0.0
    """What was asked is done, and the connection is cut instead of an answer."""
    failing: Probability = 0.0
    """503, and nothing was done."""
    duplicated: Probability = 0.0
    """The webhooks of a charge or refund are sent twice."""
    seed: int = Field(default=0, ge=0, lt=2**63)


class Fault(BaseModel):
    """What happens to one request."""

    model_config = ConfigDict(frozen=True)

    slow: bool
    dropped: bool
    failing: bool
    duplicated: bool


class Faults:
    """The dice, which may be exchanged while the sandbox runs."""

    def __init__(self, rates: FaultRates) -> None:
        self.set(rates)

    def set(self, rates: FaultRates) -> None:
        """Sets the rates from now on, and seeds the random numbers again."""
        self.rates = rates
        self._random = Random(rates.seed)

    def draw(self) -> Fault:
        """The next request's. One number a kind, so that one rate does not move another's."""
        return Fault(
            slow=self._random.random() < self.rates.slow,
            dropped=self._random.random() < self.rates.dropped,
            failing=self._random.random() < self.rates.failing,
            duplicated=self._random.random() < self.rates.duplicated,
        )
