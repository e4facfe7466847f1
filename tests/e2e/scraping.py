"""The metrics of a mesh's processes, read as Prometheus does."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from proof.stack import Mesh


def scraped(mesh: Mesh, role: str) -> dict[tuple[str, str], float]:
    """The sums over a role's instances, by sample name, and side of the lane or outcome."""
    totals: dict[tuple[str, str], float] = {}
    for process in mesh.processes(role):
        with urllib.request.urlopen(f"http://{process['metrics']}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if "le" not in sample.labels:
                    key = sample.name, sample.labels.get("side") or sample.labels.get("outcome", "")
                    totals[key] = totals.get(key, 0.0) + sample.value
    return totals
