"""What a page of another origin can do with the API in a real browser."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import browser
from tests.process.gateway.serving import end, serving

PAGE = """<!DOCTYPE html><title>shop</title><pre id="shown"></pre><script>
async function ask() {
  const answer = await fetch("GATEWAY/gacha/pull/standard", {
    method: "POST",
    headers: {"content-type": "application/json", "authorization": "Bearer t",
              "idempotency-key": "k"},
    body: '{"count": 10}',
  });
  const body = await answer.json();
  return "pulled " + body.pulled_items.length + ", request id of "
    + (answer.headers.get("x-request-id") || "").length;
}
ask().then(String, String).then(text => document.getElementById("shown").textContent = text);
</script>"""


class Shop:
    """A page with another origin than the gateway's."""

    def __init__(self) -> None:
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(shop.page.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.page = ""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def shop_open() -> Iterator[Shop]:
    shop = Shop()
    serving_pages = threading.Thread(target=shop.server.serve_forever)
    serving_pages.start()
    yield shop
    shop.server.shutdown()
    serving_pages.join()
    shop.server.server_close()


@pytest.mark.parametrize(
    ("is_listed", "text", "calls"),
    [
        (True, "pulled 10, request id of 32", "calls=1 cancelled=0"),
        (False, "TypeError: Failed to fetch", "calls=0 cancelled=0"),
    ],
    ids=["listed", "not listed"],
)
async def test_only_pages_of_listed_origins_can_call(
    tmp_path: Path, is_listed: bool, text: str, calls: str
) -> None:
    with shop_open() as shop:
        origin = shop.origin if is_listed else "https://elsewhere.example"
        async with serving(0.0, origin) as (process, client):
            shop.page = PAGE.replace("GATEWAY", f"http://127.0.0.1:{client.base_url.port}")
            shown = await asyncio.to_thread(browser.show, shop.origin, tmp_path)
            assert text in shown.document, shown.console
            assert await end(process) == calls
