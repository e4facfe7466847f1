"""GET /status: what is alive, as JSON, and as a page for browsers.

Everybody learns states. Names and addresses of instances are for members, who are operators
and services: the caller shows a token, which `Members` judges.
"""

import math
from collections.abc import Iterable
from typing import Any

import orjson

from gateway_http.describing.pages import NO_STORE, Presence, StatusSource, missing_services
from gateway_http.edge.members import Members
from gateway_http.exchange import LimitClass, Request, Response
from gateway_http.pages.html import VARY, html_response, template, wants_html
from mesh.contract.instances import Instance


class States:
    """The states of the mesh, as this gateway sees it."""

    def __init__(self, needed: Iterable[str], source: StatusSource, presence: Presence) -> None:
        """`needed` are the services that the routes need."""
        self._needed = tuple(needed)
        self._source = source
        self._presence = presence

    def as_json(self, *, for_members: bool) -> dict[str, Any]:
        """The JSON of /status; names and addresses only for members."""
        missing = missing_services(self._needed, self._source)
        age_seconds = self._source.age_seconds()
        gateway: dict[str, Any] = {
            "state": "draining" if self._presence.draining else "serving",
            "uptimeSeconds": round(self._presence.uptime_seconds(), 3),
        }
        if for_members:
            gateway = {"id": self._presence.instance_id, **gateway}
        return {
            "status": "degraded" if missing else "ok",
            "gateway": gateway,
            "registry": {
                "viewAgeSeconds": round(age_seconds, 3) if math.isfinite(age_seconds) else None
            },
            "services": {
                service: [_instance(each, for_members) for each in self._source.instances(service)]
                for service in sorted({*self._needed, *self._source.services()})
            },
        }


class StatusPage:
    """The endpoint."""

    limit_class = LimitClass.ADDRESS

    def __init__(self, states: States, members: Members) -> None:
        self._states = states
        self._members = members
        self._template = template("status.html")

    async def answer(self, request: Request) -> Response:
        """Raises Unauthenticated for an operator's token that is not valid any more."""
        is_member = await self._members.show_everything_to(request.headers)
        status = self._states.as_json(for_members=is_member)
        if wants_html(request.headers):
            return html_response(200, self._template, {"status": status})
        return Response(200, orjson.dumps(status), headers=[*VARY, *NO_STORE])


def _instance(instance: Instance, for_members: bool) -> dict[str, str]:
    state = {"state": instance.state.value}
    if not for_members:
        return state
    return {"id": instance.id, "address": instance.address, **state}
