"""Rolling restart: restarts one process after the other while the others serve.

A process is stopped only when all others are healthy and every caller sees them, so at most one
process is down at any time. Databases and the cache are not restarted, because each is the only
one here. The payment sandbox is not either, because it stands for another company.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from deploy.local.errors import LocalRunError
from deploy.local.supervision.control import Say
from deploy.local.supervision.supervisor import SupervisedProcess, not_ready, wait_until_ready
from deploy.local.waiting import not_ended, reported

ORDER = ("etcd", "registry", "account_svc", "gacha_svc", "gateway_http")
READY_SECONDS = 60.0
SEEN_SECONDS = 15.0
POLL_SECONDS = 0.05

Unseen = Callable[[], Awaitable[list[str]]]


async def roll(processes: Sequence[SupervisedProcess], unseen: Unseen, say: Say) -> None:
    """Restarts processes by role in ORDER; other roles are not restarted.

    `unseen` returns a sentence for each instance that a caller does not see. Raises LocalRunError
    when the mesh is not healthy before the first restart, or after one of them; the remaining
    processes are then not restarted.
    """
    rolled = [each for role in ORDER for each in processes if each.spec.role == role]
    await _wait_until_whole(processes, unseen, "Nothing was restarted", say)
    for number, each in enumerate(rolled, 1):
        began_at = time.monotonic()
        say(f"{number}/{len(rolled)} {each.spec.name} (pid {each.pid}) leaves.")
        await reported(each.restart(), partial(not_ended, [each.spec.name]), say)
        gone_at = time.monotonic()
        await wait_until_ready([each], timeout_seconds=READY_SECONDS, say=say)
        await _wait_until_whole(processes, unseen, f"Stopped after {each.spec.name}", say)
        say(
            f"{number}/{len(rolled)} {each.spec.name} is back (pid {each.pid}): it left in "
            f"{gone_at - began_at:.1f} s, and was seen by all {time.monotonic() - gone_at:.1f} s "
            "later."
        )
    say(f"All {len(rolled)} were restarted; databases, cache and payment sandbox were not.")


async def _wait_until_whole(
    processes: Sequence[SupervisedProcess], unseen: Unseen, progress: str, say: Say
) -> None:
    missing: list[str] = []

    async def wait() -> None:
        deadline = time.monotonic() + SEEN_SECONDS
        while True:
            missing[:] = not_ready(processes) or await unseen()
            if not missing:
                return
            if time.monotonic() > deadline:
                raise LocalRunError(f"{progress}: {'; '.join(missing)}.")
            await asyncio.sleep(POLL_SECONDS)

    await reported(wait(), lambda: missing, say)
