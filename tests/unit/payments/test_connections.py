"""Connections to the provider, and the sagas that use them."""

from account_svc.domain.payments import MAX_CONNECTIONS
from account_svc.use_cases.clawbacks.saga import MAX_RUNNING
from mesh.saga.runner import SagaLimits


def test_every_saga_that_an_instance_drives_may_have_a_connection() -> None:
    limits = SagaLimits()
    assert limits.max_due + limits.max_begun + MAX_RUNNING < MAX_CONNECTIONS
