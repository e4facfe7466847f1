"""The payment sandbox of a mesh: its book of all charges, and its faults."""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypedDict

import httpx

from payment_sandbox.faults import FaultRates
from proof.stack import Mesh

PAGE_SIZE = 1000
PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.05


Kind = Literal["refund", "dispute"]


class BookedReversal(TypedDict):
    """A refund or dispute of a charge."""

    id: str
    key: str
    charge: str
    amount_minor: int
    status: str
    created_at: float


class BookedCharge(TypedDict):
    """A charge as in payment_sandbox.messages; `key` is its saga's id."""

    id: str
    key: str
    state: str
    amount_minor: int
    currency: str
    payment_method: str
    customer: str
    decline_code: str
    created_at: float
    refunds: list[BookedReversal]
    disputes: list[BookedReversal]


def booked_charges(mesh: Mesh) -> list[BookedCharge]:
    """Every charge, with its refunds and disputes, oldest first."""
    with _client(mesh) as client:
        return list(_pages(client))


def reverse(mesh: Mesh, kind: Kind, charge_key: str, key: str, **body: object) -> BookedReversal:
    """Refunds or disputes the charge of a purchase, as an operator or a bank does; `body` may
    have "amount_minor", and for a refund "status". Returns the new reversal. Idempotent by
    `key`."""
    path = f"/v1/charges/{charge_key}/{kind}"
    charge = _post(mesh, path, body, {"Idempotency-Key": key})
    made: list[BookedReversal] = [each for each in charge[f"{kind}s"] if each["key"] == key]
    return made[0]


def move_reversal(mesh: Mesh, kind: Kind, reversal_id: str, status: str) -> None:
    """Sets the status of a refund or dispute."""
    _post(mesh, f"/v1/{kind}s/{reversal_id}", {"status": status}, {})


def set_faults(mesh: Mesh, rates: FaultRates) -> None:
    """Sets the faults, until they are set again or the sandbox restarts."""
    with _client(mesh) as client:
        client.put("/v1/faults", json=rates.model_dump()).raise_for_status()


def wait_until_answering(mesh: Mesh) -> None:
    """Waits until the sandbox answers, after a kill. Raises AssertionError after a timeout."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _answers(mesh):
        assert time.monotonic() < deadline, "the payment sandbox does not answer"
        time.sleep(POLL_SECONDS)


def _client(mesh: Mesh) -> httpx.Client:
    [sandbox] = mesh.processes("payment_sandbox")
    secret_key = (mesh.layout.secrets / "payment_secret_key").read_text()
    return httpx.Client(
        base_url=f"http://{sandbox['address']}", headers={"Authorization": f"Bearer {secret_key}"}
    )


def _post(mesh: Mesh, path: str, body: Mapping[str, object], headers: Mapping[str, str]) -> Any:
    with _client(mesh) as client:
        return client.post(path, json=body, headers=headers).raise_for_status().json()


def _pages(client: httpx.Client) -> Iterator[BookedCharge]:
    after: int | None = 0
    while after is not None:
        params = {"after": after, "limit": PAGE_SIZE}
        page: dict[str, Any] = client.get("/v1/charges", params=params).raise_for_status().json()
        yield from page["charges"]
        after = page["next_after"]


def _answers(mesh: Mesh) -> bool:
    with _client(mesh) as client:
        try:
            return client.get("/healthz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
