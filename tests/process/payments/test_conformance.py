"""The guarantees of every payment provider.

The sandbox is the real one. Stripe is replaced by stripe-mock, which knows Stripe's whole
interface but stores nothing: it validates requests against Stripe's own description, and answers
with examples. So tests that need stored state (a charged key, an unknown key, a changing state,
a visible refund) use only the sandbox, in test_sandbox.py. The interpretation of Stripe's
answers is tested with scripted answers, in test_stripe_answers.py.
"""

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from account_svc.adapters.payments.sandbox import SandboxProvider
from account_svc.adapters.payments.stripe import KEY, StripeProvider
from account_svc.domain.payments import (
    BadSignature,
    PaymentProvider,
    ProviderAway,
    UnsupportedPaymentMethod,
)
from mesh.deadlines import Deadline
from mesh.errors import InvalidArgument
from tests.e2e import tools
from tests.unit.payments.running import (
    PATIENCE_SECONDS,
    SECRET_KEY,
    WEBHOOK_SECRET,
    order,
    sandbox_here,
    served,
    signature,
    soon,
)

STRIPE_TEST_KEY = "sk_test_ConformanceSuite"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def stripe_mock() -> Iterator[str]:
    """The base URL of a stripe-mock; without the program the calling test is skipped."""
    program = tools.stripe_mock()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [program, "-http-addr", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _listens(port):
            assert process.poll() is None, "stripe-mock ended"
            assert time.monotonic() < deadline, "stripe-mock does not listen"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


@asynccontextmanager
async def provider_at(kind: str, url: str) -> AsyncIterator[PaymentProvider]:
    """A provider at any address; no server need listen there."""
    provider: PaymentProvider
    if kind == "stripe":
        provider = StripeProvider(
            secret_key=STRIPE_TEST_KEY, webhook_secret=WEBHOOK_SECRET, url=url
        )
    else:
        provider = SandboxProvider(url, secret_key=SECRET_KEY, webhook_secret=WEBHOOK_SECRET)
    try:
        yield provider
    finally:
        await provider.close()


@pytest.fixture(params=["sandbox", "stripe"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each provider in turn."""
    return str(request.param)


@pytest.fixture
async def provider(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[PaymentProvider]:
    """A provider with a running server."""
    if kind == "stripe":
        async with provider_at(kind, request.getfixturevalue("stripe_mock")) as stripe:
            yield stripe
    else:
        async with sandbox_here(tmp_path / "book.sqlite3") as sandbox:
            yield sandbox.client


@pytest.fixture
async def alone(kind: str) -> AsyncIterator[PaymentProvider]:
    """A provider without a server."""
    async with provider_at(kind, NOBODY) as provider:
        yield provider


async def test_a_charge_is_answered_under_its_key(provider: PaymentProvider) -> None:
    wanted = order()
    charge = await provider.charge(wanted, soon())
    assert charge.key == wanted.key
    assert charge.charge_id


@pytest.mark.parametrize("method", ["credit_card", "debit_card", "card_declined", "card_expired"])
async def test_the_names_of_development_are_known_everywhere(
    provider: PaymentProvider, method: str
) -> None:
    wanted = order(method)
    assert (await provider.charge(wanted, soon())).key == wanted.key


async def test_a_charge_is_found_by_its_key(provider: PaymentProvider) -> None:
    wanted = order()
    await provider.charge(wanted, soon())
    found = await provider.find_charge(wanted.key, soon())
    assert found is not None
    assert found.key == wanted.key


async def test_a_refund_may_be_repeated(provider: PaymentProvider) -> None:
    charge = await provider.charge(order(), soon())
    for _ in range(2):
        await provider.refund(charge, f"refund-{charge.key}", soon())


async def test_an_unknown_method_is_unsupported(provider: PaymentProvider) -> None:
    with pytest.raises(UnsupportedPaymentMethod) as refused:
        await provider.charge(order("bottle_caps"), soon())
    assert [violation.field for violation in refused.value.fields] == ["payment_method"]
    assert provider.payment_methods
    for method in provider.payment_methods:
        assert method in refused.value.message


async def test_no_time_left_is_a_provider_that_is_away(provider: PaymentProvider) -> None:
    with pytest.raises(ProviderAway):
        await provider.charge(order(), Deadline.after(0.0))
    with pytest.raises(ProviderAway):
        await provider.find_charge("k", Deadline.after(0.0))


async def test_no_server_at_the_address_counts_as_provider_unavailable(
    alone: PaymentProvider,
) -> None:
    with pytest.raises(ProviderAway):
        await alone.charge(order(), soon())
    with pytest.raises(ProviderAway):
        await alone.find_charge("k", soon())


async def test_a_provider_that_never_answers_is_away_at_the_deadline(kind: str) -> None:
    is_over = asyncio.Event()

    async def say_nothing(request: web.Request) -> web.Response:
        await is_over.wait()
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", say_nothing)
    async with served(application) as url, provider_at(kind, url) as provider:
        started = time.monotonic()
        with pytest.raises(ProviderAway):
            await provider.charge(order(), Deadline.after(0.2))
        assert time.monotonic() - started < 5.0
        is_over.set()


EVENTS: dict[str, object] = {
    "sandbox": {"id": "evt_1", "data": {"charge": {
        "id": "ch_1", "key": "saga-1", "state": "succeeded", "decline_code": "",
    }}},
    "stripe": {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "data": {
        "object": {"id": "pi_1", "object": "payment_intent", "metadata": {KEY: "saga-1"}},
    }},
}  # fmt: skip


async def test_a_signed_webhook_names_its_charge(kind: str, alone: PaymentProvider) -> None:
    body = orjson.dumps(EVENTS[kind])
    event = alone.read_event(body, signature(body))
    assert event is not None
    assert (event.event_id, event.key) == ("evt_1", "saga-1")
    rolled = f"{signature(body, secret='the one before')},{signature(body).partition(',')[2]}"
    assert alone.read_event(body, rolled) == event


FORGERIES: dict[str, tuple[Callable[[bytes], str], str]] = {
    "another secret": (
        lambda body: signature(body, secret="somebody else's secret"),
        "PAYMENT_WEBHOOK_SECRET",
    ),
    "another body": (lambda body: signature(body + b" "), "pass header and body on unchanged"),
    "too old": (lambda body: signature(body, age_seconds=3600), "check the clocks"),
    "another time": (
        lambda body: signature(body, age_seconds=5).replace("t=", "t=1"),
        "does not sign this body",
    ),
    "no signature": (lambda body: signature(body).partition(",")[0], "unchanged"),
    "no time": (lambda body: signature(body).partition(",")[2], "unchanged"),
    "no header": (lambda body: "", "is missing: webhooks come from the payment provider"),
    "not ASCII": (lambda body: "t=٣,v1=é", "unchanged"),
    "commas": (lambda body: ",,=,==", "unchanged"),
}
"""The signature, and a part of the sentence that says the remedy."""


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_webhook_is_refused_with_its_header_and_the_remedy(
    kind: str, alone: PaymentProvider, forgery: str
) -> None:
    body = orjson.dumps(EVENTS[kind])
    sign, remedy = FORGERIES[forgery]
    with pytest.raises(BadSignature, match=remedy) as refused:
        alone.read_event(body, sign(body))
    assert f"The {kind.title()}-Signature header" in refused.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b'{"data": {"charge": 1}}'])
async def test_a_signed_body_that_is_no_event_is_invalid(
    alone: PaymentProvider, body: bytes
) -> None:
    with pytest.raises(InvalidArgument):
        alone.read_event(body, signature(body))
