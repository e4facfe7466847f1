"""Conditional requests, as RFC 9110 says; Werkzeug, which reads them too, says the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import parse_etags

from gateway_http.caching.conditions import ETAG, conditional, entity_tag
from gateway_http.errors import PreconditionFailed
from gateway_http.exchange import Headers, Response

BODY = b'{"items":[]}'
TAG = entity_tag(BODY)
ANSWER = Response(200, BODY, headers=[("cache-control", "public, no-cache"), (ETAG, TAG)])
OTHER = entity_tag(b"other")


def status(*headers: tuple[str, str]) -> int:
    try:
        return conditional(Headers(headers), ANSWER).status
    except PreconditionFailed:
        return 412


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (TAG, 304),
        (f"W/{TAG}", 304),
        (f"{OTHER}, {TAG}", 304),
        (f"{OTHER},W/{TAG}", 304),
        ("*", 304),
        (" * ", 304),
        (OTHER, 200),
        (TAG.strip('"'), 200),
        ("", 200),
        (f'"{TAG.strip(chr(34))}x"', 200),
    ],
)
def test_what_a_client_has_is_not_sent_again(written: str, expected: int) -> None:
    assert status(("if-none-match", written)) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [(TAG, 200), (f"{OTHER}, {TAG}", 200), ("*", 200), (f"W/{TAG}", 412), (OTHER, 412), ("", 412)],
)
def test_an_answer_that_if_match_excludes_is_refused(written: str, expected: int) -> None:
    assert status(("if-match", written)) == expected


def test_if_match_is_evaluated_first() -> None:
    assert status(("if-none-match", TAG), ("if-match", OTHER)) == 412
    assert status(("if-none-match", TAG), ("if-match", TAG)) == 304


def test_several_headers_are_one_list() -> None:
    assert status(("if-none-match", OTHER), ("if-none-match", TAG)) == 304


def test_an_answer_that_is_not_sent_again_keeps_its_headers_and_has_no_body() -> None:
    answer = conditional(Headers([("if-none-match", TAG)]), ANSWER)
    assert answer == Response(304, b"", ANSWER.content_type, ANSWER.headers)


def test_an_answer_without_a_tag_has_no_conditions() -> None:
    plain = Response(200, BODY)
    assert conditional(Headers([("if-none-match", "*"), ("if-match", OTHER)]), plain) is plain


TAGS = st.sampled_from([TAG, OTHER, '""', '"a,b"', '"a b"'])
LISTS = st.lists(st.tuples(st.sampled_from(["", "W/"]), TAGS), min_size=1, max_size=5)


@given(LISTS, st.sampled_from([",", ", ", " , "]))
def test_lists_of_tags_are_read_as_werkzeug_reads_them(
    tags: list[tuple[str, str]], separator: str
) -> None:
    written = separator.join(weak + tag for weak, tag in tags)
    read = parse_etags(written)
    opaque = TAG.strip('"')
    assert (status(("if-none-match", written)) == 304) is read.contains_weak(opaque)
    assert (status(("if-match", written)) == 200) is read.contains(opaque)
