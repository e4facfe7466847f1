import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import BY_CODE, Code, FieldViolation, InvalidArgument, MeshError, ResourceExhausted
from mesh.status import from_wire, to_status


def across(error: MeshError) -> MeshError:
    status = to_status(error)
    return from_wire(status.code, status.message, status.SerializeToString())


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@given(
    st.sampled_from(sorted(BY_CODE)),
    TEXT,
    TEXT.filter(bool),
    st.dictionaries(TEXT, TEXT, max_size=3),
    st.lists(st.builds(FieldViolation, TEXT, TEXT), max_size=3),
    st.none() | st.floats(0, 1e6),
)
def test_an_error_arrives_as_it_was_sent(
    code: Code,
    message: str,
    reason: str,
    metadata: dict[str, str],
    fields: list[FieldViolation],
    retry_after_seconds: float | None,
) -> None:
    sent = BY_CODE[code](
        message,
        reason=reason,
        metadata=metadata,
        fields=tuple(fields),
        retry_after_seconds=retry_after_seconds,
    )
    arrived = across(sent)
    assert type(arrived) is type(sent)
    assert (arrived.message, arrived.reason, arrived.metadata, arrived.fields) == (
        message,
        reason,
        metadata,
        tuple(fields),
    )
    assert arrived.retry_after_seconds == pytest.approx(retry_after_seconds, abs=1e-5)


def test_an_error_of_a_stranger_keeps_its_code() -> None:
    error = from_wire(int(Code.RESOURCE_EXHAUSTED), "slow down", None)
    assert isinstance(error, ResourceExhausted)
    assert error.message == "slow down"


def test_a_code_that_does_not_exist_is_unknown() -> None:
    assert from_wire(77, "?", None).code is Code.UNKNOWN


def test_a_wrong_field_is_named_in_every_form() -> None:
    error = across(InvalidArgument.of_field("amount", "must be at least 1"))
    assert error.message == "amount must be at least 1"
    assert error.metadata == {"field": "amount"}
    assert error.fields == (FieldViolation("amount", "must be at least 1"),)


def test_details_that_are_no_status_are_left_out() -> None:
    error = from_wire(int(Code.NOT_FOUND), "gone", b"\xff\xff")
    assert (error.code, error.message, error.reason) == (Code.NOT_FOUND, "gone", "NOT_FOUND")
