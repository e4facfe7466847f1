"""Creates the rows that a branch must lock, before the branch.

A row that a branch inserts is invisible until the branch commits. If another operation took
its absence for a default, the later of the two would overwrite the earlier one. So a branch
inserts no row whose absence means something: it raises RowsMissing, the rows are committed,
and the branch begins anew and locks them. A branch whose rows exist pays nothing for this.
"""

from collections.abc import Callable
from typing import TypeVar

from psycopg2.extensions import cursor as Cursor  # noqa: N812 (it is a class)

from mesh.errors import Aborted

MAX_BRANCH_ATTEMPTS = 3

T = TypeVar("T")


class RowsMissing(Exception):
    """A branch needs rows that do not exist.

    `create` commits them, unless another process has done so meanwhile; it gets a cursor in
    autocommit mode. It may commit asynchronously: the branch's PREPARE TRANSACTION comes later
    in the same WAL and makes both durable.
    """

    def __init__(self, create: Callable[[Cursor], None]) -> None:
        super().__init__("rows that the branch must lock do not exist")
        self.create = create


def with_missing_rows(branch: Callable[[Cursor], T]) -> Callable[[Cursor], T]:
    """`branch`, such that after RowsMissing it is rolled back, and begins anew once the rows are
    made. Raises Aborted when rows are still missing after MAX_BRANCH_ATTEMPTS."""

    def attempts(cursor: Cursor) -> T:
        for _ in range(MAX_BRANCH_ATTEMPTS):
            try:
                return branch(cursor)
            except RowsMissing as missing:
                cursor.execute("ROLLBACK")
                missing.create(cursor)
        raise Aborted("The rows of this operation are being changed.", reason="ROWS_MISSING")

    return attempts
