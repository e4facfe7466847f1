"""The metrics of a mesh's processes, read as Prometheus does."""

import time
import urllib.request
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mesh.process.scrape_pages import KEPT_SECONDS
from proof.stack import Mesh


def scraped(mesh: Mesh, role: str) -> dict[tuple[str, str], float]:
    """The sums over a role's instances, by sample name, and side of the lane or outcome."""
    totals: dict[tuple[str, str], float] = {}
    for family in families(mesh, role):
        for sample in family.samples:
            if "le" not in sample.labels:
                key = sample.name, sample.labels.get("side") or sample.labels.get("outcome", "")
                totals[key] = totals.get(key, 0.0) + sample.value
    return totals


def families(mesh: Mesh, role: str) -> Iterator[Metric]:
    """The metrics of a role's instances, as they are now."""
    time.sleep(KEPT_SECONDS)  # a page that was rendered for somebody else may be that old
    for process in mesh.processes(role):
        with urllib.request.urlopen(f"http://{process['metrics']}/metrics", timeout=5) as answer:
            yield from text_string_to_metric_families(answer.read().decode())
