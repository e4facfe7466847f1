"""The operations of a user, with any transport."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from proof.clients.answers import Answer

ACCOUNT = "account.v1.AccountService"
SESSIONS = "account.v1.SessionService"
PURCHASES = "account.v1.PurchaseService"
CATALOG = "gacha.v1.CatalogService"
GACHA = "gacha.v1.GachaService"
GIFTS = "gacha.v1.GiftService"

Request = Mapping[str, Any]
"""The fields of a request message by their JSON names."""


class Client(ABC):
    """A connection to the mesh. `token` is a player's token from Login. `key` is the idempotency
    key of a mutation; if it is empty, the server makes one."""

    @abstractmethod
    def call(self, method: str, request: Request, token: str = "") -> Answer:
        """Calls "<service>/<method>"; returns its answer, which may be an error."""

    @abstractmethod
    def close(self) -> None:
        """Ends its connections."""

    def register(self, username: str, password: str, email: str, *, key: str = "") -> Answer:
        request = {"username": username, "password": password, "email": email}
        return self.call(f"{ACCOUNT}/Register", _with(request, idempotencyKey=key))

    def login(self, username: str, password: str) -> Answer:
        return self.call(f"{ACCOUNT}/Login", {"username": username, "password": password})

    def refresh(self, refresh_token: str, *, key: str = "") -> Answer:
        request = {"refresh_token": refresh_token}
        return self.call(f"{SESSIONS}/Refresh", _with(request, idempotencyKey=key))

    def logout(self, refresh_token: str) -> Answer:
        return self.call(f"{SESSIONS}/Logout", {"refresh_token": refresh_token})

    def logout_everywhere(self, token: str) -> Answer:
        return self.call(f"{SESSIONS}/LogoutEverywhere", {}, token)

    def change_password(self, token: str, current: str, new: str, *, key: str = "") -> Answer:
        request = {"current_password": current, "new_password": new}
        return self.call(f"{SESSIONS}/ChangePassword", _with(request, idempotencyKey=key), token)

    def key_set(self) -> Answer:
        return self.call(f"{ACCOUNT}/GetKeySet", {})

    def currency(self, token: str) -> Answer:
        return self.call(f"{ACCOUNT}/GetCurrency", {}, token)

    def buy_currency(
        self, token: str, amount: int, payment_method: str = "credit_card", *, key: str = ""
    ) -> Answer:
        request = {"amount": amount, "paymentMethod": payment_method}
        return self.call(f"{ACCOUNT}/BuyCurrency", _with(request, idempotencyKey=key), token)

    def ledger(self, token: str, *, page_size: int = 0, page_token: str = "") -> Answer:
        return self.call(f"{ACCOUNT}/ListLedger", _page(page_size, page_token), token)

    def init_db(self) -> Answer:
        return self.call(f"{CATALOG}/InitDb", {})

    def items(self) -> Answer:
        return self.call(f"{CATALOG}/ListItems", {})

    def chances(self, banner_id: str = "") -> Answer:
        return self.call(f"{CATALOG}/GetChances", _with({}, bannerId=banner_id))

    def banners(self) -> Answer:
        return self.call(f"{CATALOG}/ListBanners", {})

    def banner(self, banner_id: str) -> Answer:
        return self.call(f"{CATALOG}/GetBanner", {"bannerId": banner_id})

    def banner_history(self, banner_id: str, *, page_size: int = 0, page_token: str = "") -> Answer:
        request = {"bannerId": banner_id, **_page(page_size, page_token)}
        return self.call(f"{CATALOG}/ListBannerHistory", request)

    def odds(self, odds_version: str) -> Answer:
        return self.call(f"{CATALOG}/GetOdds", {"oddsVersion": odds_version})

    def pull(
        self, token: str, banner_id: str = "standard", count: int | None = None, *, key: str = ""
    ) -> Answer:
        request = _with({"bannerId": banner_id}, idempotencyKey=key)
        if count is not None:
            request["count"] = count
        return self.call(f"{GACHA}/Pull", request, token)

    def pity(self, token: str, banner_id: str = "") -> Answer:
        return self.call(f"{GACHA}/GetPity", _with({}, bannerId=banner_id), token)

    def inventory(self, token: str, *, page_size: int = 0, page_token: str = "") -> Answer:
        return self.call(f"{GACHA}/GetInventory", _page(page_size, page_token), token)

    def pulls(self, token: str, *, page_size: int = 0, page_token: str = "") -> Answer:
        return self.call(f"{GACHA}/ListPulls", _page(page_size, page_token), token)


def _with(request: Request, **optional: str) -> dict[str, Any]:
    return {**request, **{name: value for name, value in optional.items() if value}}


def _page(page_size: int, page_token: str) -> dict[str, Any]:
    page: dict[str, Any] = {"pageSize": page_size} if page_size else {}
    return _with(page, pageToken=page_token)
