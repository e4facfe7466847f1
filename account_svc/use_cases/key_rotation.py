"""Changes the key that signs players' tokens, while the mesh serves.

A rotation refuses no valid token: it adds a new key beside the others, and each instance
decides when the key signs. It removes a key only when every instance reports that all of the
key's tokens have expired. It may be interrupted and restarted at any time. Revoking is the
exception: it makes the key's tokens invalid.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from account_svc.domain.signing.key_views import MissingView, Views, states_of
from account_svc.domain.signing.signing_keys import (
    MAX_SIGNING_KEYS,
    SETTLE_SECONDS,
    KeyFiles,
    ListedKey,
    State,
)
from account_svc.use_cases.instance_wait import InstanceWait, RotationFailed
from mesh.identity.key_files import LOOK_SECONDS
from mesh.identity.published_keys import FETCH_SECONDS

GRACE_SECONDS = 30.0
"""Added to the longest time needed, for example for a process that restarts."""
REFUSED_SECONDS = round(FETCH_SECONDS + LOOK_SECONDS)
"""A removed key is accepted nowhere after this time."""
MIN_PREFIX_LENGTH = 6
STILL_SIGNING = "The earlier keys go on signing, and no token is refused"
STILL_GONE = "Its file is removed; restart a process that still has the key"
LOGGED_OUT = (
    "Players with an access token that it signed must refresh it or log in again; "
    "sessions and all other tokens stay valid."
)


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The result of a command: key ids, and for each kept key the time when it may be removed,
    or None while it signs or may still sign."""

    made: str | None = None
    removed: tuple[str, ...] = ()
    kept: Mapping[str, datetime | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeyRotation:
    """Changes the keys in `files`, and polls the instances with `wait`. The caller ensures that
    no other change is running."""

    files: KeyFiles
    wait: InstanceWait

    async def rotate(self) -> KeyChange:
        """Makes a key, waits until it signs everywhere, and removes the expired keys.

        If an interrupted rotation left a key that does not sign yet, it uses that one. Raises
        RotationFailed; no valid token is refused even then.
        """
        views = await self._ask()
        self._report_faults(views)
        waiting = self._waiting_key(views)
        if waiting is None:
            kid = made = self._make(views)
        else:
            kid, made = waiting.kid, None
            self.wait.say(f"Key {kid} ({waiting.file_name}) was made before and does not sign yet.")
        await self._wait_until_it_signs(kid)
        return replace(await self.prune(), made=made)

    async def prune(self) -> KeyChange:
        """Removes every key whose tokens have all expired. Idempotent. Raises RotationFailed."""
        views = await self._ask()
        now = self.wait.clock().timestamp()
        removed: list[str] = []
        kept: dict[str, datetime | None] = {}
        for kid, name in self.files.names().items():
            seen = [view.find(kid) for view in views.values()]
            ends = [key.removable_at for key in seen if key is not None]
            # An instance that does not know the key cannot know what the key signed before.
            timestamps = [each for each in ends if each is not None]
            if not timestamps or len(timestamps) < len(views):
                kept[kid] = None
                continue
            removable_at = datetime.fromtimestamp(max(timestamps), UTC)
            if max(timestamps) <= now:
                self.files.remove(kid)
                removed.append(kid)
                self.wait.say(f"Removed key {kid} ({name}): all that it signed has expired.")
            else:
                kept[kid] = removable_at
                self.wait.say(
                    f"Key {kid} ({name}) stays until {removable_at:%H:%M:%S} UTC, for the "
                    "tokens that it signed. The next rotation, or `rotate-keys --prune` "
                    "(make: PRUNE=1), removes it then."
                )
        return KeyChange(None, tuple(removed), kept)

    async def revoke(self, prefix: str) -> KeyChange:
        """Removes a key at once, and makes another one if the rest could not sign.

        `prefix` is a key id or its first characters. Raises RotationFailed.
        """
        names = self.files.names()
        kid = _chosen(prefix, names)
        views = await self._ask()
        self._report_faults(views)
        states = states_of(kid, views)
        is_unused = states <= {State.WAITING}
        is_superseded = states <= {State.SUPERSEDED}
        made = None
        if len(names) == 1 or not (is_unused or is_superseded):
            made = self._make(views, revoked=kid)
        self.files.remove(kid)
        self.wait.say(f"Removed key {kid} ({names[kid]}).")
        await self._wait_until_it_is_gone(kid)
        self.wait.say(
            f"account_svc accepts none of its tokens any more; within {REFUSED_SECONDS} s "
            "no service does."
        )
        self.wait.say("It had not signed yet: no player is affected." if is_unused else LOGGED_OUT)
        return KeyChange(made, (kid,))

    async def _ask(self) -> Views:
        try:
            return await self.wait.ask()
        except MissingView as error:
            raise RotationFailed(f"{error}.") from error

    def _make(self, views: Views, revoked: str = "") -> str:
        """Makes a new key, and returns its id."""
        file_count = len(self.files.names())
        if file_count >= MAX_SIGNING_KEYS - 1 and not revoked:
            raise RotationFailed(
                f"{self.files.place} already has {file_count} keys, and at most "
                f"{MAX_SIGNING_KEYS} are read: wait, and remove the expired ones with "
                "`rotate-keys --prune` (make: PRUNE=1)."
            )
        try:
            kid = self.files.make(self.wait.clock())
        except FileExistsError as error:
            raise RotationFailed("A key was made in the same second: try again.") from error
        except OSError as error:
            raise RotationFailed(f"No key can be written: {error}.") from error
        others = {key.kid for view in views.values() for key in view.keys} - {revoked}
        when = f"in about {SETTLE_SECONDS:.0f} s, when all know it" if others else "at once"
        self.wait.say(f"Made key {kid} ({self.files.names()[kid]}). It signs {when}.")
        return kid

    def _waiting_key(self, views: Views) -> ListedKey | None:
        """The newest key if it does not sign yet but will soon: an interrupted rotation left it,
        or an operator made it."""
        soon = self.wait.clock().timestamp() + SETTLE_SECONDS + LOOK_SECONDS
        waiting = [
            key
            for view in views.values()
            for key in view.keys[-1:]
            if key.state is State.WAITING and key.ready_at <= soon
        ]
        return max(waiting, key=lambda key: key.file_name, default=None)

    async def _wait_until_it_signs(self, kid: str) -> None:
        def lacking(views: Views) -> dict[str, str]:
            now = self.wait.clock().timestamp()
            found = {name: view.find(kid) for name, view in views.items()}
            return {
                name: "has not seen it yet"
                if key is None
                else f"signs with it in {max(0.0, key.ready_at - now):.0f} s"
                for name, key in found.items()
                if key is None or key.state is State.WAITING
            }

        limit_seconds = SETTLE_SECONDS + LOOK_SECONDS + GRACE_SECONDS
        views = await self.wait.until_done(lacking, limit_seconds, STILL_SIGNING)
        self.wait.say(f"Key {kid} signs at all of {', '.join(sorted(views))}.")

    async def _wait_until_it_is_gone(self, kid: str) -> None:
        def lacking(views: Views) -> dict[str, str]:
            return {name: "still has it" for name, view in views.items() if view.find(kid)}

        await self.wait.until_done(lacking, LOOK_SECONDS + GRACE_SECONDS, STILL_GONE)

    def _report_faults(self, views: Views) -> None:
        for fault in sorted({fault for view in views.values() for fault in view.faults}):
            self.wait.say(f"Left out: {fault}.")


def _chosen(prefix: str, names: Mapping[str, str]) -> str:
    found = [kid for kid in names if kid.startswith(prefix)]
    if len(prefix) >= MIN_PREFIX_LENGTH and len(found) == 1:
        return found[0]
    keys = ", ".join(f"{kid} ({name})" for kid, name in names.items()) or "none"
    raise RotationFailed(
        f"{prefix!r} is not the id of one key, nor its first {MIN_PREFIX_LENGTH} characters or "
        f"more. The keys are: {keys}. A token names its key as `kid` in its header."
    )
