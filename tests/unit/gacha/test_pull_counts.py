"""The allowed numbers of pulls in a request."""

import pytest

from gacha_svc.domain.errors import BannerPullLimit, InsufficientCurrency
from gacha_svc.domain.pull_counts import check_count, check_pull_limit
from mesh.errors import InvalidArgument
from tests.unit.gacha.catalogs import FLAT


@pytest.mark.parametrize("count", [-1, 0, 2, 9, 11, 100, 2**31])
def test_only_one_or_ten_may_be_pulled(count: int) -> None:
    with pytest.raises(InvalidArgument, match="count must be 1 or 10") as refused:
        check_count(count, FLAT)
    assert refused.value.fields[0].field == "count"


@pytest.mark.parametrize(("sold", "asked"), [(1, 10), (10, 1)])
def test_a_count_that_the_banner_does_not_sell_is_refused(sold: int, asked: int) -> None:
    banner = FLAT.model_copy(update={"pull_counts": (sold,)})
    check_count(sold, banner)
    with pytest.raises(InvalidArgument, match=f"count must be {sold} on this banner"):
        check_count(asked, banner)


@pytest.mark.parametrize(
    ("limit", "made", "count", "left"),
    [
        pytest.param(0, 10_000, 10, None, id="no limit"),
        pytest.param(20, 10, 10, None, id="the last ten"),
        pytest.param(20, 11, 10, 9, id="one too many"),
        pytest.param(20, 20, 1, 0, id="none left"),
        pytest.param(20, 30, 1, 0, id="the limit was lowered since"),
    ],
)
def test_a_pull_limit_is_kept(limit: int, made: int, count: int, left: int | None) -> None:
    banner = FLAT.model_copy(update={"pull_limit": limit})
    if left is None:
        check_pull_limit(count, banner, made)
        return
    with pytest.raises(BannerPullLimit) as refused:
        check_pull_limit(count, banner, made)
    assert refused.value.reason == "BANNER_PULL_LIMIT"
    assert refused.value.metadata == {"pull_limit": "20", "pulls_left": str(left)}


def test_insufficient_currency_has_the_promised_message() -> None:
    assert InsufficientCurrency().message == "Insufficient currency"
