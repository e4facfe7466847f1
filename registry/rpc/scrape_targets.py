"""`/sd`: the scrape targets of Prometheus, in the format of its http_sd.

https://prometheus.io/docs/prometheus/latest/http_sd/: the answer is always the whole list, 200
and `[]` if it is empty. After an error, Prometheus keeps its present list.
"""

import json
from collections.abc import Iterable
from http import HTTPStatus

from mesh.contract.instances import Instance
from mesh.process.scrape_pages import Page
from registry.use_cases.instance_cache import InstanceCache

PATH = "/sd"


def scrape_targets(instances: Iterable[Instance]) -> list[dict[str, object]]:
    """One target for each instance with a metrics endpoint, also for draining ones.

    `service` and `instance` become labels of all scraped metrics. The state is only for
    relabelling: as a label it would start new series when it changes.
    """
    return [
        {
            "targets": [entry.metrics_address],
            "labels": {
                "service": entry.service,
                "instance": entry.id,
                "__meta_mesh_state": entry.state.value,
                "__meta_mesh_address": entry.address,
            },
        }
        for entry in instances
        if entry.metrics_address
    ]


def scrape_targets_page(cache: InstanceCache) -> Page:
    """The page; 503 before the first list."""

    def page() -> tuple[HTTPStatus, str, bytes]:
        instances = cache.instances
        if instances is None:
            said = b"This registry has just started and has no list yet; ask again.\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", said
        listed = json.dumps(scrape_targets(instances)).encode()
        return HTTPStatus.OK, "application/json", listed

    return page
