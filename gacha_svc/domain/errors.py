"""The errors of banners and pulls; those of gifts are in gacha_svc.domain.gifts.

NotFound
+-- BannerNotFound         BANNER_NOT_FOUND
+-- OddsNotFound           ODDS_NOT_FOUND
FailedPrecondition
+-- CatalogEmpty           CATALOG_EMPTY
+-- InvalidCatalog         INVALID_CATALOG
+-- BannerPullLimit        BANNER_PULL_LIMIT
+-- InsufficientCurrency   INSUFFICIENT_CURRENCY
+-- WalletInDebt           WALLET_IN_DEBT
Aborted
+-- OddsChanged            ODDS_CHANGED
"""

from collections.abc import Mapping, Sequence

from mesh.errors import Aborted, FailedPrecondition, NotFound


class BannerNotFound(NotFound):
    """No banner has this id; the message names those that exist."""

    REASON = "BANNER_NOT_FOUND"
    MAX_NAMED = 10
    """How many ids the message has; with a catalog of more it says so."""

    def __init__(self, banner_id: str, existing: Sequence[str]) -> None:
        named = ", ".join(existing[: self.MAX_NAMED])
        more = ", and more" if len(existing) > self.MAX_NAMED else ""
        super().__init__(
            f"There is no such banner; there are: {named}{more}.",
            metadata={"banner_id": banner_id[:100]},
        )


class OddsNotFound(NotFound):
    """No odds of this version were ever in force."""

    REASON = "ODDS_NOT_FOUND"

    def __init__(self, odds_version: str) -> None:
        super().__init__(
            "There are no odds of this version; a banner, its history and a pull name theirs.",
            metadata={"odds_version": odds_version[:100]},
        )


class CatalogEmpty(FailedPrecondition):
    """The database holds no catalog yet."""

    REASON = "CATALOG_EMPTY"

    def __init__(self) -> None:
        super().__init__("There are no items and banners yet; call InitDb to introduce them.")


class InvalidCatalog(FailedPrecondition):
    """The catalog file is wrong.

    `faults` has a line "<file>:<line>: <reason and remedy>" for each fault. The message has as
    many of them as fit into a gRPC trailer beside its details (8 KiB in all).
    """

    MAX_MESSAGE_CHARACTERS = 3_000

    REASON = "INVALID_CATALOG"

    def __init__(self, faults: Sequence[str]) -> None:
        message = "\n".join(faults)
        if len(message) > self.MAX_MESSAGE_CHARACTERS:
            cut = message.rfind("\n", 0, self.MAX_MESSAGE_CHARACTERS)
            message = message[: max(cut, 0)] + "\nand more; correct these first"
        super().__init__(message, metadata={"fault_count": str(len(faults))})
        self.faults = tuple(faults)


class BannerPullLimit(FailedPrecondition):
    """The player has fewer pulls left on this banner than requested."""

    REASON = "BANNER_PULL_LIMIT"

    def __init__(self, pull_limit: int, pulls_left: int) -> None:
        super().__init__(
            f"This banner allows a player {pull_limit} pulls, and {pulls_left} are left; "
            "ask for fewer, or pull from another banner.",
            metadata={"pull_limit": str(pull_limit), "pulls_left": str(pulls_left)},
        )


class InsufficientCurrency(FailedPrecondition):
    """The balance is below the price of the pull; nothing was taken."""

    REASON = "INSUFFICIENT_CURRENCY"

    def __init__(
        self,
        message: str = "Insufficient currency",
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata)


class WalletInDebt(FailedPrecondition):
    """The player owes gems; nothing was taken."""

    REASON = "WALLET_IN_DEBT"

    def __init__(
        self,
        message: str = "Your wallet owes gems; GET /currency shows how many. Buy them first.",
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, metadata=metadata)


class OddsChanged(Aborted):
    """The banner changed between reading the price and the draw; nothing was taken."""

    REASON = "ODDS_CHANGED"

    def __init__(self) -> None:
        super().__init__("The banner was changed during the pull; read its odds and pull again.")
