"""What a repeated registration is recognized by."""

from hypothesis import given
from hypothesis import strategies as st

from account_svc.domain.accounts import Registration

NAMES = st.from_regex(r"[A-Za-z0-9_.-]{3,8}", fullmatch=True)
EMAILS = st.text(max_size=12)


@given(NAMES, EMAILS, NAMES, EMAILS)
def test_requests_have_one_digest_if_and_only_if_they_are_equal(
    name: str, email: str, other_name: str, other_email: str
) -> None:
    one = Registration("id", name, email)
    for request in ((name, email), (other_name, email), (name, other_email), (other_name, "")):
        is_same = request == (name, email)
        assert (Registration("id", *request).digest == one.digest) is is_same


@given(NAMES, EMAILS)
def test_no_player_has_the_name_that_repeats_are_counted_under(name: str, email: str) -> None:
    assert " " in Registration("id", name, email).guarded_name
