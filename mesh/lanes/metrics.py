"""How many calls share a message on a lane.

A message is counted in a list, and the histogram is made of it when it is read. So a message
costs a tenth of an observation of prometheus_client.
"""

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mesh.lanes.limits import MAX_BATCH_CALLS

BUCKETS = tuple(2**power for power in range(MAX_BATCH_CALLS.bit_length()))


class LaneMetrics(Collector):
    """Counts the calls of a CallBatch at the client, and the replies of a ReplyBatch at the
    server.

    A message without calls or replies, such as a cancellation, counts as 0.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Raises ValueError if the registry already has them."""
        # The number of messages, by the number of calls or replies in each.
        self._sent = [0] * (MAX_BATCH_CALLS + 1)
        self._answered = [0] * (MAX_BATCH_CALLS + 1)
        registry.register(self)

    def observe_calls(self, count: int) -> None:
        """A CallBatch with so many calls is sent, at most MAX_BATCH_CALLS."""
        self._sent[count] += 1

    def observe_replies(self, count: int) -> None:
        """A ReplyBatch with so many replies is sent, at most MAX_BATCH_CALLS."""
        self._answered[count] += 1

    def describe(self) -> Iterable[Metric]:
        """By its name the registry recognizes a second one."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """The histogram of each side."""
        family = HistogramMetricFamily(
            "lane_batch_calls",
            "Calls (side client) or replies (side server) in one message on a lane.",
            labels=["side"],
        )
        for side, counts in (("client", self._sent), ("server", self._answered)):
            up_to = list(accumulate(counts))
            buckets = [(f"{bound:.1f}", float(up_to[bound])) for bound in BUCKETS]
            total = sum(size * count for size, count in enumerate(counts))
            family.add_metric([side], [*buckets, ("+Inf", float(up_to[-1]))], total)
        yield family
