"""Pages that are rendered once for many requests."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import pytest
from prometheus_client import CollectorRegistry, Counter

from mesh.process.scrape_pages import KEPT_SECONDS, METRICS_PATH, Answer, ScrapePages


class Counted:
    """A page that counts its renders, and the most at a time."""

    def __init__(self, go_on: Callable[[], object] = lambda: None) -> None:
        self.count = self.at_once = self.most_at_once = 0
        self._go_on = go_on
        self._lock = threading.Lock()

    def __call__(self) -> Answer:
        with self._lock:
            self.count += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self._go_on()
        with self._lock:
            self.at_once -= 1
        return HTTPStatus.OK, "text/plain", str(self.count).encode()


def test_a_page_is_rendered_again_when_it_is_old() -> None:
    now, page = [100.0], Counted()
    pages = ScrapePages(CollectorRegistry(), {"/sd": page}, lambda: now[0])
    bodies = []
    for step in (0.0, KEPT_SECONDS * 0.9, KEPT_SECONDS * 0.2, KEPT_SECONDS * 5):
        now[0] += step
        bodies.append(pages.answer("GET", "/sd")[2])
    assert bodies == [b"1", b"1", b"2", b"3"]


def test_the_metrics_are_kept_too() -> None:
    now, registry = [100.0], CollectorRegistry()
    scrapes = Counter("scrapes", "Scrapes.", registry=registry)
    pages = ScrapePages(registry, {}, lambda: now[0])
    texts = []
    for step in (0.0, KEPT_SECONDS / 2, KEPT_SECONDS / 2):
        now[0] += step
        scrapes.inc()
        status, media_type, body = pages.answer("GET", METRICS_PATH)
        assert (status, media_type.split(";")[0]) == (HTTPStatus.OK, "text/plain")
        texts.append([line for line in body.splitlines() if line.startswith(b"scrapes_total")])
    assert texts == [[b"scrapes_total 1.0"], [b"scrapes_total 1.0"], [b"scrapes_total 3.0"]]


def test_many_requests_at_a_time_are_one_render() -> None:
    go_on = threading.Event()
    page = Counted(lambda: go_on.wait(10))
    pages = ScrapePages(CollectorRegistry(), {"/sd": page}, lambda: 100.0)
    with ThreadPoolExecutor(16) as threads:
        answers = [threads.submit(pages.answer, "GET", "/sd") for _ in range(16)]
        go_on.set()
        assert {answer.result(10)[2] for answer in answers} == {b"1"}
    assert (page.count, page.most_at_once) == (1, 1)


def test_a_render_that_fails_is_tried_again() -> None:
    failures = [OSError("away")]

    def page() -> Answer:
        if failures:
            raise failures.pop()
        return HTTPStatus.OK, "text/plain", b"there"

    pages = ScrapePages(CollectorRegistry(), {"/sd": page}, lambda: 100.0)
    with pytest.raises(OSError, match="away"):
        pages.answer("GET", "/sd")
    assert pages.answer("GET", "/sd")[2] == b"there"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("POST", METRICS_PATH, 405), ("OPTIONS", METRICS_PATH, 405)],
)
def test_other_requests_render_nothing(method: str, path: str, status: int) -> None:
    page = Counted()
    assert ScrapePages(CollectorRegistry(), {"/sd": page}).answer(method, path)[0] == status
    assert page.count == 0
