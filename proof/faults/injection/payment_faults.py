"""Faults of the payment provider, made by the sandbox."""

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping

import httpx

from payment_sandbox.faults import FaultRates
from proof import payment_book
from proof.faults.injection.fault import KILL, Fault, Group, InjectionContext
from proof.faults.injection.target import Target
from proof.payment_book import BookedCharge
from proof.stack import Mesh

HARM_SECONDS = 5.0
SANDBOX = "payment_sandbox"
HARM = "payment provider slow, silent or failing"
REVERSALS = "charges refunded and disputed"
GIVEN_BACK = "payments given back"
PAID = "succeeded"
MOST_GIVEN_BACK = 20
LATER: Mapping[payment_book.Kind, tuple[str, ...]] = {
    "refund": ("failed",),
    "dispute": ("won", "lost"),
}
"""The statuses that a reversal may get after its first one."""
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
    yield Fault(GIVEN_BACK, Group.PAYMENTS, REVERSALS, _give_back)
    yield Fault(f"{SANDBOX} killed", Group.PAYMENTS, KILL, _kill)


def _give_back(context: InjectionContext) -> bool:
    """Refunds and disputes some charges, in part or as a whole, and changes the state of some of
    those; every webhook is sent twice."""
    mesh, chance = context.target.mesh, context.chance
    _set(context.target, FaultRates(duplicated=1.0))
    came = False
    try:
        charges = [each for each in payment_book.booked_charges(mesh) if each["state"] == PAID]
        for charge in chance.sample(charges, min(len(charges), MOST_GIVEN_BACK)):
            came |= _reverse(mesh, chance, charge)
    except httpx.TransportError:
        return came
    finally:
        _set(context.target, FaultRates())
    return came


def _reverse(mesh: Mesh, chance: random.Random, charge: BookedCharge) -> bool:
    """False when the charge cannot be reversed, for example because another round did so."""
    kind: payment_book.Kind = chance.choice(("refund", "dispute"))
    amount_minor = chance.choice((charge["amount_minor"], charge["amount_minor"] // 3 + 1))
    body: dict[str, object] = {"amount_minor": amount_minor}
    if kind == "refund":
        body["status"] = chance.choice(("pending", "succeeded"))
    key = f"{chance.getrandbits(96):x}"
    try:
        made = payment_book.reverse(mesh, kind, charge["key"], key, **body)
        if status := chance.choice(("", *LATER[kind])):
            payment_book.move_reversal(mesh, kind, made["id"], status)
    except httpx.HTTPStatusError:
        return False
    return True


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
