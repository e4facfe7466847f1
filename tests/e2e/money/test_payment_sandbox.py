"""The payment sandbox of a mesh keeps its book over restarts."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from account_svc.adapters.payments.sandbox import SandboxProvider
from account_svc.domain.payments import ChargeOrder, ChargeState, ProviderAway
from mesh.deadlines import Deadline
from payment_sandbox.faults import FaultRates
from proof import payment_book
from proof.stack import Mesh

PATIENCE_SECONDS = 20.0


@pytest.fixture
async def provider(mesh: Mesh) -> AsyncIterator[SandboxProvider]:
    """A client of the sandbox with the account service's secrets."""
    [sandbox] = mesh.processes("payment_sandbox")
    provider = SandboxProvider(
        f"http://{sandbox['address']}",
        secret_key=(mesh.layout.secrets / "payment_secret_key").read_text(),
        webhook_secret=(mesh.layout.secrets / "payment_webhook_secret").read_text(),
    )
    yield provider
    await provider.close()


def soon() -> Deadline:
    return Deadline.after(PATIENCE_SECONDS)


def order(payment_method: str = "credit_card") -> ChargeOrder:
    """An order without a purchase; the test must refund it."""
    return ChargeOrder(str(uuid4()), "nobody", 499, "USD", payment_method)


async def test_a_killed_sandbox_returns_to_its_address_with_its_book(
    mesh: Mesh, provider: SandboxProvider
) -> None:
    kept, refunded = order(), order("paypal")
    charge = await provider.charge(kept, soon())
    await provider.refund(await provider.charge(refunded, soon()), str(uuid4()), soon())
    mesh.kill_process("payment_sandbox-1")
    payment_book.wait_until_answering(mesh)
    assert await provider.find_charge(kept.key, soon()) == charge
    states = {each["key"]: each["state"] for each in payment_book.booked_charges(mesh)}
    expected = (ChargeState.SUCCEEDED, ChargeState.REFUNDED)
    assert (states[kept.key], states[refunded.key]) == expected
    await provider.refund(charge, str(uuid4()), soon())


async def test_its_faults_are_switched_while_it_runs(mesh: Mesh, provider: SandboxProvider) -> None:
    payment_book.set_faults(mesh, FaultRates(failing=1.0))
    try:
        with pytest.raises(ProviderAway):
            await provider.charge(order(), soon())
    finally:
        payment_book.set_faults(mesh, FaultRates())
    charge = await provider.charge(order(), soon())
    assert charge.state is ChargeState.SUCCEEDED
    await provider.refund(charge, str(uuid4()), soon())
