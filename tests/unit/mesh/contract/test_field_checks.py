"""One refusal names every wrong field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.contract.field_checks import check_each
from mesh.contract.pages import checked_page
from mesh.errors import InvalidArgument


def check(name: str, is_right: bool) -> str:
    if not is_right:
        raise InvalidArgument.of_field(name, "is wrong")
    return name


@given(st.lists(st.booleans(), max_size=6))
def test_every_wrong_field_is_named_in_order(are_right: list[bool]) -> None:
    names = [f"field_{number}" for number in range(len(are_right))]
    wrong = [name for name, is_right in zip(names, are_right, strict=True) if not is_right]
    checks = [
        lambda name=name, is_right=is_right: check(name, is_right)
        for name, is_right in zip(names, are_right, strict=True)
    ]
    if not wrong:
        assert check_each(*checks) == tuple(names)
        return
    with pytest.raises(InvalidArgument) as caught:
        check_each(*checks)
    assert [each.field for each in caught.value.fields] == wrong
    assert caught.value.message == "; ".join(f"{name} is wrong" for name in wrong)
    assert caught.value.reason == "INVALID_FIELD"


def test_the_only_refusal_is_raised_as_it_is() -> None:
    only = InvalidArgument.of_field("a", "is wrong")

    def refuse() -> None:
        raise only

    with pytest.raises(InvalidArgument) as caught:
        check_each(refuse, lambda: None)
    assert caught.value is only


def test_an_error_without_a_field_is_raised_at_once() -> None:
    def refuse() -> None:
        raise InvalidArgument("All of it is wrong.")

    with pytest.raises(InvalidArgument, match="All of it"):
        check_each(refuse, lambda: check("a", False))


def test_a_page_has_both_of_its_wrong_fields_named() -> None:
    assert checked_page(0, "17", default=50, maximum=100) == (50, 17)
    with pytest.raises(InvalidArgument) as caught:
        checked_page(101, "x", default=50, maximum=100)
    assert [each.field for each in caught.value.fields] == ["page_size", "page_token"]
