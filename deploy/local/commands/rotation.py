"""Changes the key that signs players' tokens, while the mesh serves.

Nothing that is valid is refused: a new key is only put beside the others, and each instance
decides when it signs; a key is removed only when every instance says that nothing valid is
left of it. It may be interrupted and begun again at any moment. To revoke is the exception:
what that key signed ends.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from account_svc.adapters.signing_keys.files import RefusedKeyFile, read_private_key_file
from account_svc.adapters.signing_keys.folder import MAX_SIGNING_KEYS
from account_svc.domain.signing_keys import SETTLE_SECONDS, ListedKey, State
from deploy.local.commands.signing_views import Views
from deploy.local.errors import LocalRunError
from deploy.local.secrets.credentials import make_signing_key
from deploy.local.supervision.control import Say
from mesh.identity.key_files import LOOK_SECONDS
from mesh.identity.keys import key_id
from mesh.identity.published_keys import FETCH_SECONDS

POLL_SECONDS = 1.0
TELL_SECONDS = 10.0
PATIENCE_SECONDS = 30.0
"""For a process that is restarting, say, beyond the time that is needed at most."""
REFUSED_SECONDS = round(FETCH_SECONDS + LOOK_SECONDS)
"""Within which a key that is gone is accepted nowhere."""
MIN_PREFIX_LENGTH = 6
STILL_WELL = "The keys before it go on signing, and nothing is refused"
STILL_GONE = "Its file is removed all the same; end a process that still has it (`make roll`)"
LOGGED_OUT = (
    "Whoever has an access token that it signed has to refresh it, or to log in again; sessions "
    "and all other tokens stay."
)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation works with: the folder of keys, who is asked, and who is told."""

    folder: Path
    ask: Callable[[], Awaitable[Views]]
    say: Say
    clock: Callable[[], datetime]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def rotate(self) -> None:
        """Makes a key, waits until it signs everywhere, and removes those that may go.

        Raises LocalRunError with what is in the way; nothing valid is refused even then.
        """
        views = await self.ask()
        self._tell_faults(views)
        waiting = self._waiting(views)
        if waiting is None:
            kid = self._make(views)
        else:
            kid = waiting.kid
            self.say(f"Key {kid} ({waiting.file_name}) was made before and does not sign yet.")
        await self._wait_until_it_signs(kid)
        await self.prune()

    async def prune(self) -> None:
        """Removes every key of which nothing valid is left. Raises LocalRunError."""
        views = await self.ask()
        now = self.clock().timestamp()
        for kid, path in self._files().items():
            seen = [view.find(kid) for view in views.values()]
            ends = [key.removable_at for key in seen if key is not None]
            # An instance that does not know the key says nothing of what it signed before.
            moments = [moment for moment in ends if moment is not None]
            if not moments or len(moments) < len(views):
                continue
            if max(moments) <= now:
                path.unlink()
                self.say(f"Removed key {kid} ({path.name}): all that it signed has expired.")
            else:
                self.say(
                    f"Key {kid} ({path.name}) stays until {_time(max(moments))}, for the tokens "
                    "that it signed. `make rotate-keys PRUNE=1` removes it then, or the next "
                    "rotation."
                )

    async def revoke(self, wanted: str) -> None:
        """Removes a key at once, and makes another if it would be missed.

        `wanted` is a key id, or the beginning of one. Raises LocalRunError.
        """
        files = self._files()
        kid = _chosen(wanted, files)
        views = await self.ask()
        self._tell_faults(views)
        is_unused = _is_unused(kid, views)
        if len(files) == 1 or not (is_unused or _is_superseded(kid, views)):
            self._make(views, revoked=kid)
        files[kid].unlink()
        self.say(f"Removed key {kid} ({files[kid].name}).")
        await self._wait_until_it_is_gone(kid)
        self.say(
            f"account_svc accepts nothing that it signed any more, and within {REFUSED_SECONDS} s "
            "nobody does."
        )
        self.say("It had not signed yet: nobody is logged out." if is_unused else LOGGED_OUT)

    def _make(self, views: Views, revoked: str = "") -> str:
        """A new key, and its id."""
        if len(self._files()) >= MAX_SIGNING_KEYS - 1 and not revoked:
            raise LocalRunError(
                f"{len(self._files())} keys lie in {self.folder} already, and {MAX_SIGNING_KEYS} "
                "are read at most: wait, and remove those that may go with "
                "`make rotate-keys PRUNE=1`."
            )
        try:
            path = make_signing_key(self.folder, self.clock())
        except FileExistsError as error:
            raise LocalRunError("A key was made in this very second: try again.") from error
        except OSError as error:
            raise LocalRunError(f"No key can be written: {error}.") from error
        kid = key_id(read_private_key_file(path).public_key())
        others = {key.kid for view in views.values() for key in view.keys} - {revoked}
        when = (
            f"in about {SETTLE_SECONDS:.0f} s, when everybody can know it" if others else "at once"
        )
        self.say(f"Made key {kid} ({path.name}). It signs {when}.")
        return kid

    def _waiting(self, views: Views) -> ListedKey | None:
        """The newest key, if it does not sign yet but will soon: that of a rotation which was
        interrupted, or of one by hand."""
        soon = self.clock().timestamp() + SETTLE_SECONDS + LOOK_SECONDS
        waiting = [
            key
            for view in views.values()
            for key in view.keys[-1:]
            if key.state is State.WAITING and key.ready_at <= soon
        ]
        return max(waiting, key=lambda key: key.file_name, default=None)

    async def _wait_until_it_signs(self, kid: str) -> None:
        def left(views: Views) -> dict[str, str]:
            now = self.clock().timestamp()
            found = {name: view.find(kid) for name, view in views.items()}
            return {
                name: "has not seen it yet" if key is None else _left(key.ready_at - now)
                for name, key in found.items()
                if key is None or key.state is State.WAITING
            }

        limit_seconds = SETTLE_SECONDS + LOOK_SECONDS + PATIENCE_SECONDS
        views = await self._wait(left, limit_seconds, STILL_WELL)
        self.say(f"Key {kid} signs at all of {', '.join(sorted(views))}.")

    async def _wait_until_it_is_gone(self, kid: str) -> None:
        def left(views: Views) -> dict[str, str]:
            return {name: "still has it" for name, view in views.items() if view.find(kid)}

        await self._wait(left, LOOK_SECONDS + PATIENCE_SECONDS, STILL_GONE)

    async def _wait(
        self, left: Callable[[Views], Mapping[str, str]], limit_seconds: float, comfort: str
    ) -> Views:
        """Asks until nothing is left, and tells what is: whose name it is, and what it lacks."""
        began_at = told_at = self.clock().timestamp()
        while True:
            try:
                views = await self.ask()
                lacking = {f"{name} {lack}" for name, lack in left(views).items()}
            except LocalRunError as error:
                lacking = {str(error).rstrip(".")}
            if not lacking:
                return views
            now = self.clock().timestamp()
            sentence = "; ".join(sorted(lacking))
            if now > began_at + limit_seconds:
                raise LocalRunError(
                    f"After {limit_seconds:.0f} s: {sentence}. {comfort}. The logs of account_svc "
                    "may tell why (refuse_signing_key, fail_signing_key_folder)."
                )
            if now >= told_at + TELL_SECONDS:
                told_at = now
                self.say(f"{now - began_at:.0f} s: {sentence}.")
            await self.sleep(POLL_SECONDS)

    def _files(self) -> dict[str, Path]:
        """The key files that can be read, by the ids of their keys."""
        files = {}
        for path in sorted(self.folder.glob("*.pem")):
            try:
                files[key_id(read_private_key_file(path).public_key())] = path
            except RefusedKeyFile:
                continue  # the instances tell of it
        return files

    def _tell_faults(self, views: Views) -> None:
        for fault in sorted({fault for view in views.values() for fault in view.faults}):
            self.say(f"Left out: {fault}.")


def _chosen(wanted: str, files: Mapping[str, Path]) -> str:
    found = [kid for kid in files if kid.startswith(wanted)]
    if len(wanted) >= MIN_PREFIX_LENGTH and len(found) == 1:
        return found[0]
    keys = ", ".join(f"{kid} ({path.name})" for kid, path in files.items()) or "none"
    raise LocalRunError(
        f"{wanted!r} is not the id of one key, nor its first {MIN_PREFIX_LENGTH} characters or "
        f"more. The keys are: {keys}. A token names its key as `kid` in its header."
    )


def _is_unused(kid: str, views: Views) -> bool:
    """Whether it signed nowhere yet."""
    seen = [key for view in views.values() if (key := view.find(kid)) is not None]
    return all(key.state is State.WAITING for key in seen)


def _is_superseded(kid: str, views: Views) -> bool:
    """Whether it signs nowhere any more."""
    seen = [key for view in views.values() if (key := view.find(kid)) is not None]
    return all(key.state is State.SUPERSEDED for key in seen)


def _left(seconds: float) -> str:
    return f"signs with it in {max(0.0, seconds):.0f} s"


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S UTC")
