"""How the saga begins that follows the refunds and disputes of a charge
(`account_svc.use_cases.clawbacks.saga`)."""

from collections.abc import Collection

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from account_svc.domain.clawbacks.gems import CLAWBACK
from mesh.contract.idempotency import operation_id
from mesh.saga import rows
from mesh.saga.definition import NewSaga

FOLLOWING = "FOLLOWING"
"""The state in which it begins."""


def begin_following(cursor: Cursor, charge_ids: Collection[str], occasion: str) -> int:
    """Begins to follow charges, and returns how many; the others were begun on this occasion
    before. The runner of an instance takes them within about a second of the commit. `occasion`
    is the id of an event, a comparison or a purchase."""
    new = [
        NewSaga(operation_id(CLAWBACK, charge_id, occasion), charge_id, {"charge_id": charge_id})
        for charge_id in charge_ids
    ]
    return len(rows.insert(cursor, CLAWBACK, FOLLOWING, new, None))
