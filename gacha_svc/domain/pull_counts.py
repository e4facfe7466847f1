"""The number of pulls that a player may request."""

from gacha_svc.domain.banners import Banner
from gacha_svc.domain.errors import BannerPullLimit
from mesh.errors import InvalidArgument


def check_count(count: int, banner: Banner) -> None:
    """Raises InvalidArgument naming `count` when the banner does not offer that number."""
    if count not in (1, 10):
        raise InvalidArgument.of_field("count", "must be 1 or 10")
    if count not in banner.pull_counts:
        raise InvalidArgument.of_field("count", f"must be {banner.pull_counts[0]} on this banner")


def check_pull_limit(count: int, banner: Banner, pulls_made: int) -> None:
    """Raises BannerPullLimit when `count` more would exceed the player's limit.

    `pulls_made` is the player's number of draws on this banner so far; a ten-pull is ten.
    """
    pulls_left = max(0, banner.pull_limit - pulls_made)
    if banner.pull_limit and count > pulls_left:
        raise BannerPullLimit(banner.pull_limit, pulls_left)
