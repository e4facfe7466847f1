"""How long a gid is known, and why later messages do no harm."""

from collections.abc import Collection
from datetime import datetime

from mesh.postgres.bounded_deletes import delete_in_batches
from mesh.postgres.database import Database

RETENTION_SECONDS = 24 * 3600
"""How long a gid stays in tx_branch after its branch began, or longer while its decision is
open. Later messages find no row and do no harm:

- *Prepare* is refused: its gid is older than GID_MAX_AGE_SECONDS by this service's clock, since
  a row is removed only when it is a day old by this clock and by the database's.
- *Commit* is repeated while the decision is open, and so finds the row, however long either
  database was down (a branch's row is as old as its Prepare, even if the branch committed just
  now). A later Commit is a delayed copy, whose sender is gone: its reply BRANCH_LOST reaches
  no caller.
- *Commit of a branch that decides* is a coordinator's that was suspended: the branch has ended,
  because an open one is no row. BRANCH_LOST tells it that nothing was committed now.
- *Abort* writes a new tombstone, which changes nothing and is removed a day later.
- *Resolve* does the same, and answers abort. If the gid had been committed, both branches have
  ended; an Abort of a caller that saw the first one before is refused with ALREADY_COMMITTED.
- *Redo* is sent while the decision is open. A later one finds each of its operations already
  applied.
"""

_FORGET = """
DELETE FROM tx_branch WHERE gid = ANY(ARRAY(
    SELECT gid FROM tx_branch
    WHERE created_at < least(%s, now() - make_interval(secs => %s)) AND gid <> ALL(%s::text[]) {}
    ORDER BY created_at LIMIT %s FOR UPDATE SKIP LOCKED))
"""
_IS_CLOSED = "AND NOT EXISTS (SELECT FROM tx_decision WHERE tx_decision.gid = tx_branch.gid)"


async def forget_old_gids(
    database: Database,
    before: datetime,
    open_gids: Collection[str],
    *,
    decides: bool,
    limit: int,
) -> None:
    """Removes rows of tx_branch that are no longer needed; see RETENTION_SECONDS. At most `limit`
    in a transaction, so that each makes progress.

    `open_gids` are all gids that are decided to commit and not known to be done. `before` must
    have been read before `open_gids`. A delay in between does no harm then, not even of a day:
    gids decided since are younger than `before`. A row that a wrong clock of the database has
    dated back stays as long by that clock too. The database that `decides` needs no `open_gids`: it
    looks at its open decisions in the same statement, whatever the clocks say.
    """
    statement = _FORGET.format(_IS_CLOSED if decides else "")
    values = (before, RETENTION_SECONDS, sorted(open_gids))
    await delete_in_batches(database, statement, values, limit)
