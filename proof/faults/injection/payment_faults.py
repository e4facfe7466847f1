"""Faults of the payment provider, made by the sandbox."""

import signal
import time
from collections.abc import Callable, Iterator, Mapping

import httpx

from payment_sandbox.faults import FaultRates
from proof import payment_book
from proof.faults.injection.fault import KILL, Fault, Group, InjectionContext
from proof.faults.injection.target import Target

HARM_SECONDS = 5.0
SANDBOX = "payment_sandbox"
HARM = "payment provider slow, silent or failing"
RATES: Mapping[str, Mapping[str, float]] = {
    "slow": {"slow": 0.3},
    "dropping replies": {"dropped": 0.4},
    "failing": {"failing": 0.5},
    "telling twice": {"duplicated": 1.0},
    "at its worst": {"slow": 0.2, "dropped": 0.3, "failing": 0.3, "duplicated": 0.5},
}


def of_payments() -> Iterator[Fault]:
    for name, rates in RATES.items():
        yield Fault(f"payments {name}", Group.PAYMENTS, HARM, _harm(rates))
    yield Fault(f"{SANDBOX} killed", Group.PAYMENTS, KILL, _kill)


def _harm(rates: Mapping[str, float]) -> Callable[[InjectionContext], bool]:
    def harm(context: InjectionContext) -> bool:
        seed = context.chance.getrandbits(32)
        came = _set(context.target, FaultRates.model_validate({**rates, "seed": seed}))
        time.sleep(HARM_SECONDS)
        _set(context.target, FaultRates())
        return came

    return harm


def _set(target: Target, rates: FaultRates) -> bool:
    """Sets the sandbox's faults; returns False while it does not answer."""
    try:
        payment_book.set_faults(target.mesh, rates)
    except httpx.TransportError:
        return False
    return True


def _kill(context: InjectionContext) -> bool:
    for name in context.target.instances(SANDBOX):
        context.target.signal(name, signal.SIGKILL)
    payment_book.wait_until_answering(context.target.mesh)
    return True
