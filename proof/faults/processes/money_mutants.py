"""Mutants of purchases, gifts and clawbacks; see proof.faults.processes.mutants."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import uuid4

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.adapters.payments.sandbox import SandboxProvider
from account_svc.domain.payments import Charge, ChargeOrder
from account_svc.domain.wallets import BalanceChange
from account_svc.storage import clawbacks, wallets
from gacha_svc.use_cases.gift_saga import GiftSaga
from mesh.deadlines import Deadline
from mesh.saga import rows
from mesh.saga.definition import Move, Saga, SharedMove


def asked_again_under_another_key() -> None:
    whole_charge = SandboxProvider.charge
    asked_keys: set[str] = set()

    async def charge(self: SandboxProvider, order: ChargeOrder, deadline: Deadline) -> Charge:
        is_repeat = order.key in asked_keys
        asked_keys.add(order.key)
        again = replace(order, key=f"{order.key}-again") if is_repeat else order
        return await whole_charge(self, again, deadline)

    SandboxProvider.charge = charge  # type: ignore[method-assign]


def fee_for_each_try() -> None:
    whole_charge = GiftSaga._charge

    async def charge(self: GiftSaga, saga: Saga, deadline: Deadline) -> Move | SharedMove:
        if saga.attempt_count:
            gift = await self._gifts.of(saga.saga_id)
            await self._fees.charge(replace(gift, gift_id=str(uuid4())), deadline)
        return await whole_charge(self, saga, deadline)

    GiftSaga._charge = charge  # type: ignore[method-assign]


def debts_forgotten() -> None:
    whole_change = wallets.change_balances

    def change(cursor: Cursor, changes: Sequence[BalanceChange]) -> Mapping[str, int]:
        held = wallets.find_wallets(cursor, [each.user_id for each in changes])
        kept = [
            replace(each, amount_gems=max(each.amount_gems, -held[each.user_id].balance_gems))
            if each.may_owe
            else each
            for each in changes
        ]
        left_gems = {each.operation_id: 0 for each in kept if not each.amount_gems}
        return {**left_gems, **whole_change(cursor, [each for each in kept if each.amount_gems])}

    wallets.change_balances = change


def reversals_taken_again() -> None:
    clawbacks.list_clawbacks = lambda cursor, purchase_id: []


def leases_unchecked() -> None:
    checked = " AND state = state_before AND lease = lease_before\n    WHERE due_at IS NOT NULL"
    assert checked in rows._MOVE_ALL
    rows._MOVE_ALL = rows._MOVE_ALL.replace(
        checked, "\n    WHERE (state_before, lease_before) IS NOT NULL"
    )
    rows.hold = lambda cursor, sagas: {saga.saga_id: saga.lease for saga in sagas}
    rows.moved_or_lost = lambda moved, saga: moved[saga.saga_id]
