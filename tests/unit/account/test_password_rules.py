"""What may be a password, and which emails are one mailbox."""

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from account_svc.domain.accounts import checked_registration
from account_svc.domain.passwords import (
    MAX_LENGTH,
    check_not_a_name,
    checked_given_password,
    checked_new_password,
    is_common,
)
from mesh.errors import InvalidArgument

COMPOSED, DECOMPOSED = "caf\u00e9 au lait", "cafe\u0301 au lait"


def new(password: str, username: str = "mira", email: str = "mira@example.com") -> str:
    normalised = checked_new_password(password, "new_password")
    check_not_a_name(normalised, username, email, "new_password")
    return normalised


@pytest.mark.parametrize(
    ("password", "remedy"),
    [
        ("password", "common"),
        ("12345678", "common"),
        ("IloveYou", "common"),
        ("Password123", "common"),
        ("mira.the.first", "username"),
        ("MIRA.the.first@example.com", "email"),
        ("seven 7", "8 to 128 characters"),
        ("cafe\u0301 ai", "8 to 128 characters"),
        ("a" * (MAX_LENGTH + 1), "8 to 128 characters"),
        ("e\u0301" * (MAX_LENGTH + 1), "8 to 128 characters"),
        ("\u0301" * 10_000_000, "8 to 128 characters"),
    ],
)
def test_a_password_that_may_not_be_taken_is_refused_with_its_remedy(
    password: str, remedy: str
) -> None:
    with pytest.raises(InvalidArgument, match=remedy) as caught:
        new(password, "mira.the.first", "mira.the.first@example.com")
    assert caught.value.metadata == {"field": "new_password"}


@pytest.mark.parametrize(
    "password",
    ["correct horse", "pass word", "e\u0301" * MAX_LENGTH, "a" * MAX_LENGTH, "長い長い秘密の言葉"],
)
def test_any_other_characters_make_a_password(password: str) -> None:
    assert new(password) == normalize("NFC", password)


def test_the_library_still_has_the_most_common_passwords() -> None:
    assert all(map(is_common, ("password1", "qwertyuiop", "letmein1", "iloveyou", "11111111")))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_all_spellings_of_a_password_are_one(password: str) -> None:
    spellings = {normalize(form, password) for form in ("NFC", "NFD")} | {password}
    outcomes: set[str | None] = set()
    for each in spellings:
        try:
            outcomes.add(checked_given_password(each))
        except InvalidArgument:
            outcomes.add(None)
    assert len(outcomes) == 1 or any(len(each) > MAX_LENGTH for each in spellings)


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("Mira@Example.com", "mira@example.COM", True),
        ("STRASSE@example.com", "strasse@example.com", True),
        ("stra\u00dfe@example.com", "strasse@example.com", False),
        ("mira@fa\u00df.de", "mira@fass.de", False),
        ("mira@B\u00dcCHER.example", "mira@b\u00fccher.example", True),
        ("mira@xn--bcher-kva.example", "mira@b\u00fccher.example", True),
        ("caf\u00e9@example.com", "cafe\u0301@example.com", True),
        ("\u017furf@example.com", "surf@example.com", False),
    ],
)
def test_emails_are_one_mailbox_by_case_alone(one: str, other: str, *, are_one: bool) -> None:
    players = [checked_registration("mira", "a long password", each)[0] for each in (one, other)]
    assert (players[0].email_key == players[1].email_key) is are_one
