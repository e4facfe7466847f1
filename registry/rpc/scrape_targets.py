"""`/sd`: the scrape targets of Prometheus, in the format of its http_sd.

https://prometheus.io/docs/prometheus/latest/http_sd/: always the whole list, 200 and `[]`
when it is empty; while the answer is an error, Prometheus keeps the list that it has.
"""

import json
from collections.abc import Iterable
from http import HTTPStatus

from mesh.contract.instances import Instance
from mesh.process.metrics_endpoint import Page
from registry.use_cases.instance_cache import InstanceCache

PATH = "/sd"


def scrape_targets(instances: Iterable[Instance]) -> list[dict[str, object]]:
    """One target for each instance that shows what it counts, draining ones too.

    `service` and `instance` become labels of all that is scraped. The state is for
    relabelling alone: as a label it would make every series a new one when it changes.
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
    """The page, 503 while there is no list yet."""

    def page() -> tuple[HTTPStatus, str, bytes]:
        instances = cache.instances
        if instances is None:
            said = b"This registry has just started and has no list yet; ask again.\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", said
        listed = json.dumps(scrape_targets(instances)).encode()
        return HTTPStatus.OK, "application/json", listed

    return page
