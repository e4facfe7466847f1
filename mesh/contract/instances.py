"""An instance of a service, as callers know it."""

from dataclasses import dataclass
from enum import Enum


class InstanceState(Enum):
    """Whether an instance takes calls."""

    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Instance:
    """One live process. `id` is unique in the mesh; `service` is the name of what it serves;
    `address` and `metrics_address` are host:port, the latter empty if it has no metrics."""

    id: str
    service: str
    address: str
    state: InstanceState = InstanceState.SERVING
    metrics_address: str = ""

    @property
    def is_serving(self) -> bool:
        return self.state is InstanceState.SERVING
