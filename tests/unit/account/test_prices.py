"""The price list: what gems cost, and how money is written."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from account_svc.domain.prices import MAX_PURCHASE_GEMS, MAX_QUOTES, Price, PriceList, decimal_text
from mesh.errors import InvalidArgument

LIST = PriceList(Price(99, "USD"), (160, 1600), ("credit_card",))


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (1584, "USD", "15.84"),
        (5, "EUR", "0.05"),
        (99, "USD", "0.99"),
        (100, "USD", "1.00"),
        (1584, "JPY", "1584"),
        (1584, "KWD", "1.584"),
        (1, "BHD", "0.001"),
        (12345, "CLF", "1.2345"),
    ],
)
def test_money_is_written_with_the_decimals_of_its_currency(
    amount_minor: int, currency: str, text: str
) -> None:
    assert decimal_text(amount_minor, currency) == text


@given(st.integers(0, 10**14), st.sampled_from([("USD", 2), ("JPY", 0), ("TND", 3), ("UYW", 4)]))
def test_no_money_is_lost_in_writing(amount_minor: int, currency: tuple[str, int]) -> None:
    name, decimals = currency
    assert Decimal(decimal_text(amount_minor, name)) * 10**decimals == amount_minor


def test_without_amounts_the_packages_are_priced() -> None:
    quotes = LIST.quotes(())
    assert [(each.amount_gems, each.price_minor, each.price) for each in quotes] == [
        (160, 159, "1.59"),
        (1600, 1584, "15.84"),
    ]


@given(st.lists(st.integers(1, MAX_PURCHASE_GEMS), min_size=1, max_size=MAX_QUOTES))
def test_each_amount_is_priced_as_a_purchase_of_it_is(amounts: list[int]) -> None:
    quotes = LIST.quotes(amounts)
    assert [each.amount_gems for each in quotes] == amounts
    assert [each.price_minor for each in quotes] == [LIST.price.of(each) for each in amounts]


@pytest.mark.parametrize("amounts", [[0], [-1], [5, MAX_PURCHASE_GEMS + 1], [1] * (MAX_QUOTES + 1)])
def test_amounts_that_nobody_can_buy_are_refused_by_name(amounts: list[int]) -> None:
    with pytest.raises(InvalidArgument, match=r"^amounts must be at most 50 amounts"):
        LIST.quotes(amounts)
