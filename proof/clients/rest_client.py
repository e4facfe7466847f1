"""REST with httpx. The routes are repeated here, because they are promised to users."""

import ssl
from string import Formatter
from typing import Any

import httpx

from proof.clients.answers import Answer, good
from proof.clients.client import (
    ACCOUNT,
    CATALOG,
    GACHA,
    GIFTS,
    PURCHASES,
    SESSIONS,
    Client,
    Request,
)

TIMEOUT_SECONDS = 20.0

ROUTES = {
    f"{ACCOUNT}/Register": "POST /register",
    f"{ACCOUNT}/Login": "POST /login",
    f"{ACCOUNT}/GetKeySet": "GET /.well-known/jwks.json",
    f"{ACCOUNT}/GetCurrency": "GET /currency",
    f"{ACCOUNT}/BuyCurrency": "POST /buy-currency",
    f"{ACCOUNT}/ListLedger": "GET /ledger",
    f"{SESSIONS}/Refresh": "POST /refresh",
    f"{SESSIONS}/Logout": "POST /logout",
    f"{SESSIONS}/LogoutEverywhere": "POST /logout-everywhere",
    f"{SESSIONS}/ChangePassword": "POST /password",
    f"{CATALOG}/InitDb": "GET /initdb",
    f"{CATALOG}/ListItems": "GET /items",
    f"{CATALOG}/GetChances": "GET /chances",
    f"{CATALOG}/ListBanners": "GET /banners",
    f"{CATALOG}/GetBanner": "GET /banners/{bannerId}",
    f"{CATALOG}/ListBannerHistory": "GET /banners/{bannerId}/history",
    f"{CATALOG}/GetOdds": "GET /odds/{oddsVersion}",
    f"{GACHA}/Pull": "POST /gacha/pull/{bannerId}",
    f"{GACHA}/GetPity": "GET /pity",
    f"{GACHA}/GetInventory": "GET /inventory",
    f"{GACHA}/ListPulls": "GET /pulls",
    f"{PURCHASES}/GetPurchase": "GET /purchases/{purchaseId}",
    f"{PURCHASES}/ListPurchases": "GET /purchases",
    f"{PURCHASES}/ListPrices": "GET /prices",
    f"{GIFTS}/SendGift": "POST /gifts",
    f"{GIFTS}/GetGift": "GET /gifts/{giftId}",
    f"{GIFTS}/ListGifts": "GET /gifts",
}


class RestClient(Client):
    """A client of the gateway at `base_url`. `trust` verifies its certificate. `pulls_by_get`
    pulls with GET, as the oldest clients do."""

    def __init__(
        self, base_url: str, trust: ssl.SSLContext | None = None, *, pulls_by_get: bool = False
    ) -> None:
        # Ignore the environment, such as its proxies.
        self.http = httpx.Client(
            base_url=base_url, timeout=TIMEOUT_SECONDS, trust_env=False, verify=trust or True
        )
        self._pull_verb = "GET" if pulls_by_get else "POST"

    def call(self, method: str, request: Request, token: str = "") -> Answer:
        verb, template = ROUTES[method].split()
        if method == f"{GACHA}/Pull":
            verb = self._pull_verb
        fields = dict(request)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if "idempotencyKey" in fields:
            headers["idempotency-key"] = fields.pop("idempotencyKey")
        names = [name for _, name, _, _ in Formatter().parse(template) if name]
        path = template.format(**{name: fields.pop(name) for name in names})
        content: dict[str, Any] = {"params": fields} if verb == "GET" else {"json": fields}
        return answer_of(self.http.request(verb, path, headers=headers, **content))

    def close(self) -> None:
        self.http.close()


def answer_of(response: httpx.Response) -> Answer:
    """The answer or the error. Checks that an error's id is also in the header."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    if response.status_code == 200:
        return good(body, response.content)
    assert body["requestId"] == response.headers["x-request-id"]
    assert ("idempotencyKey" in body) == ("idempotency-key" in response.headers)
    fields = tuple(each["field"] for each in body.get("fields", []))
    return Answer(body["code"], body["reason"], body["message"], fields, body, response.content)
