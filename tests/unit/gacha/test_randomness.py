"""uniform_below gives every number exactly the same probability; seeded bytes follow from their
seed."""

import hmac
import random
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis.strategies import binary, integers, lists, uuids

from gacha_svc.domain.randomness import seeded, uniform_below
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


@given(secret=binary(min_size=32, max_size=32), seed=uuids(), sizes=lists(integers(0, 70)))
def test_seeded_bytes_are_the_same_however_they_are_taken(
    secret: bytes, seed: UUID, sizes: list[int]
) -> None:
    source = seeded(secret, str(seed))
    assert b"".join(map(source, sizes)) == seeded(secret, str(seed))(sum(sizes))


@given(secret=binary(min_size=32, max_size=32), seed=uuids())
def test_another_seed_or_another_secret_gives_other_bytes(secret: bytes, seed: UUID) -> None:
    this_seed, other_seed = str(seed), str(UUID(int=seed.int ^ 1))
    other_secret = bytes([secret[0] ^ 1]) + secret[1:]
    taken = {seeded(*key)(32) for key in [(secret, this_seed), (secret, other_seed)]}
    assert len(taken | {seeded(other_secret, this_seed)(32)}) == 3


def test_seeded_bytes_do_not_repeat_and_have_all_values_equally_often() -> None:
    source = seeded(b"secret", str(UUID(int=1)))
    blocks = [source(32) for _ in range(4_000)]
    assert len(set(blocks)) == len(blocks)
    counts = Counter(b"".join(blocks))
    assert all(abs(counts[value] - 500) < 6 * 500**0.5 for value in range(256))


def test_seeded_bytes_are_hmac_sha256_in_counter_mode() -> None:
    seed = UUID("00112233-4455-6677-8899-aabbccddeeff")
    expected = "".join(
        hmac.new(b"secret", number.to_bytes(4, "big") + seed.bytes, "sha256").hexdigest()
        for number in (1, 2)
    )
    assert seeded(b"secret", str(seed))(64).hex() == expected
