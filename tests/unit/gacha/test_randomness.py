"""uniform_below gives every number exactly the same probability."""

import random
from collections import Counter

import pytest

from gacha_svc.domain.randomness import uniform_below
from tests.unit.gacha.catalogs import Script


@pytest.mark.parametrize("bound", [*range(1, 34), 100, 127, 128, 129, 255, 256])
def test_every_single_byte_leads_to_each_number_equally_often(bound: int) -> None:
    outcomes = Counter[int]()
    for byte in range(256):
        source = Script(byte, 0)
        value = uniform_below(bound, source)
        if not source.is_spent:
            outcomes[value] += 1
    expected = 1 if bound == 256 else 256 // bound
    if bound > 1:
        assert outcomes == dict.fromkeys(range(bound), expected)


@pytest.mark.parametrize("bound", [257, 1_000, 32_769])
def test_every_pair_of_bytes_leads_to_each_number_equally_often(bound: int) -> None:
    outcomes = Counter[int]()
    for pair in range(65_536):
        source = Script(pair, 0)
        value = uniform_below(bound, source)
        if not source.is_spent:
            outcomes[value] += 1
    assert outcomes == dict.fromkeys(range(bound), 65_536 // bound)


def test_a_certain_choice_takes_no_randomness() -> None:
    assert uniform_below(1, Script()) == 0


def test_a_value_above_the_last_whole_multiple_is_drawn_anew() -> None:
    assert uniform_below(1_000_000, Script(16_000_000, 16_777_215, 42)) == 42
    assert uniform_below(1_000_000, Script(15_999_999)) == 999_999


def test_a_source_that_repeats_itself_is_found_out() -> None:
    with pytest.raises(RuntimeError, match="repeats itself"):
        uniform_below(1_000_000, lambda count: b"\xff" * count)


def test_a_source_that_gives_too_few_bytes_is_found_out() -> None:
    with pytest.raises(AssertionError):
        uniform_below(1_000_000, lambda count: b"\x00" * (count - 1))


def test_large_bounds_are_reached_at_both_ends() -> None:
    source = random.Random(7).randbytes
    values = [uniform_below(3 * 2**100, source) for _ in range(2_000)]
    assert 0 <= min(values) < 3 * 2**100 // 500
    assert 3 * 2**100 * 499 // 500 < max(values) < 3 * 2**100
