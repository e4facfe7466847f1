"""An instance of a service, as callers know it."""

from dataclasses import dataclass
from enum import Enum


class InstanceState(Enum):
    """Whether an instance takes calls."""

    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Instance:
    """One live process: a mesh-wide unique id, what it serves, its host:port, and the one
    where it shows what it counts, or an empty string."""

    id: str
    service: str
    address: str
    state: InstanceState = InstanceState.SERVING
    metrics_address: str = ""

    @property
    def is_serving(self) -> bool:
        return self.state is InstanceState.SERVING
