"""GET /: what this is, what runs, and where everything else is."""

import orjson

from gateway_http.describing.pages import NO_STORE
from gateway_http.exchange import LimitClass, Request, Response
from gateway_http.pages.html import VARY, html_response, template, wants_html
from gateway_http.pages.status import States

LINKS = {
    "odds": "/odds",
    "docs": "/docs",
    "openapi": "/openapi.json",
    "status": "/status",
}


class HomePage:
    """The endpoint: a page for browsers, its links as JSON for others."""

    limit_class = LimitClass.ADDRESS

    def __init__(self, states: States, report_url: str | None) -> None:
        """`report_url` is where people report problems, if the operators have such a place."""
        self._states = states
        self._report_url = report_url
        self._template = template("home.html")

    async def answer(self, request: Request) -> Response:
        status = self._states.as_json(for_members=False)
        if wants_html(request.headers):
            values = {"status": status, "links": LINKS, "report_url": self._report_url}
            return html_response(200, self._template, values)
        links = LINKS | ({"reports": self._report_url} if self._report_url else {})
        body = {"name": "Gacha Mesh", "status": status["status"], "links": links}
        return Response(200, orjson.dumps(body), headers=[*VARY, *NO_STORE])
