"""Additional checks for schemathesis, which loads this file by itself."""

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response
from schemathesis.generation import GenerationMode

OF_THE_STATE = {"FAILED_PRECONDITION"}
"""Codes of valid requests that the present state does not allow."""

OF_THE_PAST = {"IDEMPOTENCY_KEY_REUSED"}

OF_TWO_FIELDS = {"PASSWORD_UNCHANGED"}
"""Reasons that the document cannot describe, because they compare two fields."""

OF_THE_SHOP = {"PAYMENT_METHOD_UNSUPPORTED", "PAYMENT_AMOUNT_UNSUPPORTED"}
"""Reasons that the document cannot describe, because they depend on the provider."""


@schemathesis.check
def valid_data_is_refused_only_because_of_the_state(
    context: CheckContext, response: Response, case: Case[Any]
) -> None:
    """A refusal of data that the document allows must name the state, and never a field."""
    if response.status_code not in (400, 422) or case.meta is None:
        return
    if case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    error = response.json()
    allowed = OF_THE_PAST | OF_TWO_FIELDS | OF_THE_SHOP
    if error["code"] not in OF_THE_STATE and error["reason"] not in allowed:
        raise AssertionError(f"allowed by the document, but refused: {error['message']}")
