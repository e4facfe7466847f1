"""How calls that wait for the next message are batched and split."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.lanes.outbox import Outbox


def outbox(*sizes: int) -> Outbox[int]:
    made: Outbox[int] = Outbox(max_batch_calls=3, max_batch_bytes=100)
    for call_id, size_bytes in enumerate(sizes):
        made.put(call_id, call_id, size_bytes)
    return made


def batches(gathered: Outbox[int]) -> list[list[int]]:
    taken = []
    while gathered:
        taken.append(gathered.take())
    return taken


def test_all_that_waits_leaves_together_in_order() -> None:
    assert batches(outbox(10, 10, 10)) == [[0, 1, 2]]


def test_a_batch_is_bounded_in_calls() -> None:
    assert batches(outbox(1, 1, 1, 1, 1, 1, 1)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_batch_is_bounded_in_bytes() -> None:
    assert batches(outbox(60, 40, 1, 99)) == [[0, 1], [2, 3]]


def test_a_call_larger_than_a_batch_is_sent_alone() -> None:
    assert batches(outbox(1, 500, 1, 500)) == [[0], [1], [2], [3]]


def test_a_dropped_call_is_not_sent() -> None:
    gathered = outbox(10, 20, 30)
    assert gathered.drop(1)
    assert not gathered.drop(1)
    assert gathered.size_bytes == 40
    assert batches(gathered) == [[0, 2]]


def test_nothing_is_taken_from_nothing() -> None:
    assert outbox().take() == []


@given(st.lists(st.integers(0, 150), max_size=30), st.sets(st.integers(0, 29)))
def test_each_item_leaves_once_in_order_and_within_the_bounds(
    sizes: list[int], dropped: set[int]
) -> None:
    gathered = outbox(*sizes)
    for call_id in dropped:
        assert gathered.drop(call_id) == (call_id < len(sizes))
    taken = batches(gathered)
    assert [call_id for batch in taken for call_id in batch] == [
        call_id for call_id in range(len(sizes)) if call_id not in dropped
    ]
    for batch in taken:
        assert len(batch) <= 3
        assert len(batch) == 1 or sum(sizes[call_id] for call_id in batch) <= 100
    assert (len(gathered), gathered.size_bytes) == (0, 0)
