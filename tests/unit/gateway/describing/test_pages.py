"""The gateway's own pages."""

import gzip
import re
from typing import Any

import orjson
import pytest
import structlog

from gateway_http.app import Gateway
from gateway_http.describing.pages import Presence
from gateway_http.transcoding.router import Router
from mesh.contract.instances import Instance, InstanceState
from tests.unit.gateway.fakes import (
    Answer,
    FakeCaller,
    FakeDirectory,
    answer_of,
    counted_ids,
    http_request,
    plain_edge,
    router_for,
)

ACCOUNT = Instance("account_svc-1", "account_svc", "127.0.0.1:7001")
GACHA = Instance("gacha_svc-1", "gacha_svc", "127.0.0.1:7002")
LEAVING = Instance("gacha_svc-2", "gacha_svc", "127.0.0.1:7003", InstanceState.DRAINING)


class Served:
    """A gateway whose environment a test changes while it serves."""

    def __init__(self) -> None:
        self.directory = FakeDirectory()
        self.now = 100.0
        self.presence = Presence("gateway-1", "127.0.0.1:8080", lambda: self.now)
        self.router: Router = router_for(
            FakeCaller(), directory=self.directory, presence=self.presence
        )

    async def get(
        self, path: str, verb: str = "GET", headers: dict[str, str] | None = None
    ) -> Answer:
        gateway = Gateway(
            self.router,
            edge=plain_edge(),
            max_in_flight=10,
            new_id=counted_ids(),
            log=structlog.get_logger(),
        )
        return await answer_of(gateway, http_request(verb, path, headers=headers))


@pytest.fixture(scope="module")
def compiled() -> Served:
    return Served()


@pytest.fixture
def served(compiled: Served) -> Served:
    """Compiled once, because that takes a while; reset for each test."""
    compiled.directory.by_service = {"account_svc": (ACCOUNT,), "gacha_svc": (GACHA,)}
    compiled.directory.age = 0.0
    compiled.presence.draining = False
    return compiled


def mesh_without(*instances: Instance) -> dict[str, tuple[Instance, ...]]:
    left = [each for each in (ACCOUNT, GACHA) if each not in instances]
    return {each.service: (each,) for each in left}


async def test_readiness_needs_a_serving_instance_of_every_service(served: Served) -> None:
    assert (await served.get("/readyz")).status == 200
    for missing in (ACCOUNT, GACHA):
        served.directory.by_service = mesh_without(missing)
        protocol = await served.get("/readyz")
        body: dict[str, Any] = orjson.loads(protocol.body)
        assert (protocol.status, body["reason"]) == (503, "NOT_READY")
        assert missing.service in body["message"]
    served.directory.by_service = {**mesh_without(GACHA), "gacha_svc": (LEAVING,)}
    assert (await served.get("/readyz")).status == 503
    assert (await served.get("/healthz")).status == 200


async def test_a_gateway_that_leaves_is_healthy_but_not_ready(served: Served) -> None:
    served.presence.draining = True
    assert (await served.get("/readyz")).status == 503
    assert (await served.get("/healthz")).body == b'{"status":"ok"}'
    assert orjson.loads((await served.get("/status")).body)["gateway"]["state"] == "draining"


async def test_the_status_tells_everybody_states_alone(served: Served) -> None:
    served.directory.by_service["gacha_svc"] = (GACHA, LEAVING)
    served.directory.by_service["other"] = (Instance("other-1", "other", "h:1"),)
    served.directory.age = 1.5
    served.now = 107.0
    assert orjson.loads((await served.get("/status")).body) == {
        "status": "ok",
        "gateway": {
            "state": "serving",
            "uptimeSeconds": 7.0,
        },
        "registry": {"viewAgeSeconds": 1.5},
        "services": {
            "account_svc": [{"state": "serving"}],
            "gacha_svc": [{"state": "serving"}, {"state": "draining"}],
            "other": [{"state": "serving"}],
        },
    }


async def test_the_status_names_missing_services(served: Served) -> None:
    served.directory.by_service = {}
    served.directory.age = float("inf")
    body = orjson.loads((await served.get("/status")).body)
    assert body["status"] == "degraded"
    assert body["registry"] == {"viewAgeSeconds": None}
    assert body["services"] == {"account_svc": [], "gacha_svc": []}


async def test_the_documentation_loads_from_here_alone(served: Served) -> None:
    page = await served.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert len(linked) == 4
    for path in [*linked, "/openapi.json"]:
        file = await served.get(path)
        assert file.status == 200, path
        assert file.body
    assert b"http" not in page.body
    assert b"/openapi.json" in (await served.get("/docs/start.js")).body


async def test_the_documentation_is_the_fifth_swagger_ui(served: Served) -> None:
    bundle = (await served.get("/docs/swagger-ui-bundle.js")).body
    assert re.search(rb'PACKAGE_VERSION:"5\.\d+\.\d+"', bundle)


@pytest.mark.parametrize(
    "path", ["/docs/", "/docs/index.html", "/docs/swagger-editor.js", "/docs/.."]
)
async def test_nothing_else_of_the_package_is_served(served: Served, path: str) -> None:
    assert (await served.get(path)).status == 404


async def test_files_are_compressed_for_clients_that_accept_it(served: Served) -> None:
    path = "/docs/swagger-ui.css"
    plain = await served.get(path)
    packed = await served.get(path, headers={"accept-encoding": "br, gzip;q=0.8"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    refused = await served.get(path, headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers


async def test_a_file_that_the_browser_has_is_not_sent_again(served: Served) -> None:
    tag = (await served.get("/openapi.json")).headers["etag"]
    again = await served.get("/openapi.json", headers={"if-none-match": tag})
    assert (again.status, again.body) == (304, b"")
    head = await served.get("/openapi.json", "HEAD")
    assert head.status == 200
