"""NUL is found in every string of a request, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.contract.storable_text import MOST_NAMED, storable
from mesh.errors import InvalidArgument
from protos.account.v1 import account_pb2, gift_fees_pb2
from protos.gacha.v1 import catalog_pb2
from protos.tx.v1 import participant_pb2


def refused(message: account_pb2.RegisterRequest | catalog_pb2.Banner) -> list[str]:
    """The fields that are named."""
    try:
        storable(type(message).FromString)(message.SerializeToString())
    except InvalidArgument as error:
        return [each.field for each in error.fields]
    return []


def test_every_string_with_nul_is_named_at_once() -> None:
    request = account_pb2.RegisterRequest(username="a\0", password="fine", email="\0")
    assert refused(request) == ["username", "email"]


def test_strings_are_found_in_lists_and_in_messages_within() -> None:
    banner = catalog_pb2.Banner(
        odds=[catalog_pb2.RarityOdds(items=[catalog_pb2.ItemOdds(name="a\0b")] * 2)]
    )
    assert refused(banner) == ["odds.items.name"]
    names = gift_fees_pb2.FindPlayersRequest(usernames=["a", "b\0"])
    with pytest.raises(InvalidArgument, match=r"^usernames must not contain the character NUL$"):
        storable(type(names).FromString)(names.SerializeToString())


def test_a_zero_byte_that_is_no_text_is_fine() -> None:
    operation = participant_pb2.Operation(id="o")
    operation.body.type_url, operation.body.value = "t", b"\0\0"
    encoded = operation.SerializeToString()
    assert b"\0" in encoded
    assert storable(participant_pb2.Operation.FromString)(encoded) == operation
    assert refused(catalog_pb2.Banner(price=2**40, expected_pulls_featured=1.0)) == []


def test_a_refusal_names_a_bounded_number_of_fields() -> None:
    deep = catalog_pb2.Banner(odds=[catalog_pb2.RarityOdds(rarity="\0")] * (MOST_NAMED + 5))
    assert refused(deep) == ["odds.rarity"]


TEXTS = st.text(st.sampled_from("ab\0"), max_size=4)


@given(TEXTS, TEXTS, TEXTS)
def test_exactly_the_fields_with_nul_are_named(username: str, password: str, email: str) -> None:
    request = account_pb2.RegisterRequest(username=username, password=password, email=email)
    given_fields = {"username": username, "password": password, "email": email}
    assert refused(request) == [name for name, text in given_fields.items() if "\0" in text]
