"""Random faults of requests, for fault tests.

They apply to every request about a charge or a refund, in addition to the payment method's own
behaviour. The same seed and the same order of requests give the same faults.
"""

from random import Random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class FaultRates(BaseModel):
    """The probability of each fault, and the seed of the random numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slow: Probability = 0.0
    """The answer is delayed by the sandbox's slow seconds."""
    dropped: Probability = 0.0
    """The request takes effect, and the connection is closed without an answer."""
    failing: Probability = 0.0
    """The answer is 503, and the request has no effect."""
    duplicated: Probability = 0.0
    """The webhooks of a charge or refund are sent twice."""
    seed: int = Field(default=0, ge=0, lt=2**63)


class Fault(BaseModel):
    """The faults of one request."""

    model_config = ConfigDict(frozen=True)

    slow: bool
    dropped: bool
    failing: bool
    duplicated: bool


class Faults:
    """Draws the faults; the rates can be changed while the sandbox runs."""

    def __init__(self, rates: FaultRates) -> None:
        self.set(rates)

    def set(self, rates: FaultRates) -> None:
        """Sets the rates from now on, and seeds the random numbers again."""
        self.rates = rates
        self._random = Random(rates.seed)

    def draw(self) -> Fault:
        """The faults of the next request. Draws one number for each kind, so that a change of
        one rate does not change the other faults."""
        return Fault(
            slow=self._random.random() < self.rates.slow,
            dropped=self._random.random() < self.rates.dropped,
            failing=self._random.random() < self.rates.failing,
            duplicated=self._random.random() < self.rates.duplicated,
        )
