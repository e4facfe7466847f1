"""An instance of a service, as callers know it."""

from dataclasses import dataclass
from enum import Enum


class InstanceState(Enum):
    """Whether an instance takes calls."""

    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Instance:
    """One live process: a mesh-wide unique id, what it serves, and its host:port."""

    id: str
    service: str
    address: str
    state: InstanceState = InstanceState.SERVING

    @property
    def is_serving(self) -> bool:
        return self.state is InstanceState.SERVING
