"""The pages of a metrics endpoint, each rendered at most twice a second and never two at a time.

Guarantees: whoever requests a page gets one that is at most KEPT_SECONDS old. However many request
it, rendering takes at most one thread's time. A render that fails is tried again by the next
request.
"""

import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

METRICS_PATH = "/metrics"
KEPT_SECONDS = 0.5
Answer = tuple[HTTPStatus, str, bytes]
"""The status, media type and body of a page."""
Page = Callable[[], Answer]
"""Renders a page. It is called in a thread."""


class ScrapePages:
    """Pages by their path. For any number of threads."""

    def __init__(
        self,
        registry: CollectorRegistry,
        pages: Mapping[str, Page],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pages` are served beside the registry's at METRICS_PATH; `clock` is monotonic."""

        def metrics() -> Answer:
            return HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry)

        self._pages = {METRICS_PATH: metrics, **pages}
        self._clock = clock
        self._rendering = threading.Lock()
        self._kept: dict[str, tuple[float, Answer]] = {}

    def answer(self, method: str, path: str) -> Answer:
        """The page for a request. Raises what the page raises."""
        if path not in self._pages:
            return _refusal(HTTPStatus.NOT_FOUND, f"Here are {' and '.join(self._pages)}.")
        if method != "GET":
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Use GET.")
        with self._rendering:
            kept = self._kept.get(path)
            if kept is not None and self._clock() - kept[0] < KEPT_SECONDS:
                return kept[1]
            began_at = self._clock()
            rendered = self._pages[path]()
            self._kept[path] = began_at, rendered
            return rendered


def _refusal(status: HTTPStatus, sentence: str) -> Answer:
    return status, "text/plain; charset=utf-8", f"{sentence}\n".encode()
