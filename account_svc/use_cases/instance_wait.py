"""Waits until every instance of account_svc has applied a change of the signing keys."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from account_svc.domain.signing.key_views import MissingView, Views

POLL_SECONDS = 1.0
REPORT_SECONDS = 10.0


class RotationFailed(Exception):
    """The keys cannot be changed as requested; the message is for operators, with the remedy."""


@dataclass(frozen=True, slots=True)
class InstanceWait:
    """Polls the instances with `ask`, and reports progress with `say`, in sentences."""

    ask: Callable[[], Awaitable[Views]]
    say: Callable[[str], None]
    clock: Callable[[], datetime]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def until_done(
        self, lacking: Callable[[Views], Mapping[str, str]], limit_seconds: float, remark: str
    ) -> Views:
        """Returns the views once `lacking` returns an empty mapping. `lacking` maps an instance
        to what it still lacks.

        An instance that does not answer counts as lacking. Raises RotationFailed after
        `limit_seconds`; its message has the lacking instances and `remark`.
        """
        began_at = reported_at = self.clock().timestamp()
        while True:
            try:
                views = await self.ask()
                missing = {f"{name} {lack}" for name, lack in lacking(views).items()}
            except MissingView as error:
                missing = {str(error)}
            if not missing:
                return views
            now = self.clock().timestamp()
            sentence = "; ".join(sorted(missing))
            if now > began_at + limit_seconds:
                raise RotationFailed(
                    f"After {limit_seconds:.0f} s: {sentence}. {remark}. The logs of account_svc "
                    "may show why (refuse_signing_key, fail_signing_key_folder)."
                )
            if now >= reported_at + REPORT_SECONDS:
                reported_at = now
                self.say(f"{now - began_at:.0f} s: {sentence}.")
            await self.sleep(POLL_SECONDS)
