"""What schemathesis looks at beside its own checks; it loads this file by itself."""

from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response
from schemathesis.generation import GenerationMode

OF_THE_STATE = {"FAILED_PRECONDITION"}
"""Codes that say that the request is right and the state is not."""

OF_THE_PAST = {"IDEMPOTENCY_KEY_REUSED"}

OF_THE_SHOP = {"PAYMENT_METHOD_UNSUPPORTED", "PAYMENT_AMOUNT_UNSUPPORTED"}
"""Reasons that no document can foresee, for they depend on the provider."""


@schemathesis.check
def what_the_document_allows_is_refused_by_the_state_alone(
    context: CheckContext, response: Response, case: Case[Any]
) -> None:
    """A refusal of valid data names the state, never a field, which the document had allowed."""
    if response.status_code not in (400, 422) or case.meta is None:
        return
    if case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    error = response.json()
    if error["code"] not in OF_THE_STATE and error["reason"] not in OF_THE_PAST | OF_THE_SHOP:
        raise AssertionError(f"allowed by the document, and refused: {error['message']}")
