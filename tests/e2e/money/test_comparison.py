"""An operator compares the payment sandbox with the purchases of a whole mesh."""

import json
import subprocess
import sys
import time
from typing import Any
from uuid import uuid4

from account_svc.adapters.payments.sandbox import SandboxProvider
from account_svc.domain.payments import ChargeOrder
from deploy.local.layout import REPOSITORY
from mesh.deadlines import Deadline
from proof.stack import Mesh
from tests.e2e.scraping import scraped

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.5
ENDED = "account_reconciliation_ended_timestamp_seconds"
DIFFERENCES = "account_reconciliation_differences"


def reconcile(mesh: Mesh, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "deploy.gachactl", "reconcile", "--grace", "0", *options]
    return subprocess.run(
        [*command, "--folder", str(mesh.layout.folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )


def uncredited(mesh: Mesh) -> list[str]:
    """The keys of the charges without a credit."""
    done = reconcile(mesh, "--format", "json")
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if result["differences"] else 0)
    assert result["charge_count"] > 0
    assert result["counts"]["ledger"] == 0, result
    return [
        each["subject_id"] for each in result["differences"] if each["kind"] == "uncredited_charge"
    ]


async def test_a_charge_of_nobody_is_reported_until_it_is_refunded(mesh: Mesh) -> None:
    [sandbox] = mesh.processes("payment_sandbox")
    provider = SandboxProvider(
        f"http://{sandbox['address']}",
        secret_key=(mesh.layout.secrets / "payment_secret_key").read_text(),
        webhook_secret=(mesh.layout.secrets / "payment_webhook_secret").read_text(),
    )
    try:
        deadline = Deadline.after(PATIENCE_SECONDS)
        key = str(uuid4())
        order = ChargeOrder(key, "nobody", 499, "USD", "credit_card")
        charge = await provider.charge(order, deadline)
        # The period ends with the last whole second, so the first one may come too early.
        until = time.monotonic() + PATIENCE_SECONDS
        while key not in uncredited(mesh):
            assert time.monotonic() < until
        table = reconcile(mesh)
        assert table.returncode == 1
        assert key in table.stdout
        await provider.refund(charge, str(uuid4()), deadline)
        assert key not in uncredited(mesh)
    finally:
        await provider.close()


def test_the_last_comparison_is_a_metric_of_every_instance(mesh: Mesh) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    started_at = min(path.stat().st_mtime for path in mesh.layout.secrets.iterdir())
    instance_count = len(mesh.processes("account_svc"))
    while (ended := scraped(mesh, "account_svc")[ENDED, ""]) < instance_count * started_at:
        assert time.monotonic() < deadline, ended
        time.sleep(POLL_SECONDS)
    assert (DIFFERENCES, "") in scraped(mesh, "account_svc")
