"""Follows the keys that sign players' tokens in their folder, without a restart.

Each file is an Ed25519 private key (PKCS8, PEM). Its name is the time of its creation, and only
its owner may read it. Added and removed files take effect within LOOK_SECONDS: every key is
published at once, and `account_svc.domain.signing.signing_keys` decides which one signs.

A file without such a key is skipped with an error in the log, and affects no other. The keys
read before stay in use while the folder cannot be read or holds no key at all; so does the key
of a file that has become unreadable. Remove its file to revoke a key.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from account_svc.adapters.signing_keys.files import RefusedKeyFile, read_private_key_file
from account_svc.domain.signing import signing_keys as rules
from account_svc.domain.signing.signing_keys import (
    MAX_SIGNING_KEYS,
    ListedKey,
    Schedule,
    ScheduledKey,
)
from mesh.identity.key_files import LOOK_SECONDS, UNKNOWN_KEY_LOOK_SECONDS, BadKeyFolder, stamps_of
from mesh.identity.tokens import PLAYER_AUDIENCE, TokenSigner
from mesh.rounds import pause

REMEDY = (
    "Make a key with: openssl genpkey -algorithm ed25519 "
    "-out $(date -u +%Y%m%dT%H%M%SZ).pem, readable only by its owner"
)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _HeldKey:
    """A key file that was read, and its place in the schedule."""

    path: Path
    signer: TokenSigner
    scheduled: ScheduledKey


class SigningKeys:
    """Signs players' tokens, and publishes their public keys: a
    `mesh.identity.tokens.Signer`. Use it in one thread."""

    def __init__(
        self,
        folder: Path,
        *,
        token_seconds: int,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises BadKeyFolder when the folder has no usable key.

        `token_seconds` is how long a token is valid; `clock` returns seconds since 1970.
        """
        self._folder = folder
        self.lifetime_seconds = token_seconds
        self._overlap_seconds = rules.overlap_seconds(token_seconds)
        self._clock = clock
        self._monotonic = monotonic
        self._keys: Mapping[str, _HeldKey] = {}
        self._faults: tuple[str, ...] = ()
        self._signing = ""
        try:
            self._stamps = stamps_of(folder)
        except OSError as error:
            raise BadKeyFolder(f"{folder} cannot be read ({error.strerror}). {REMEDY}") from error
        self._looked_at = monotonic()
        read = dict(self._read(is_start=True))
        if not read:
            faults = "; ".join(self._faults) or f"{folder} holds no key"
            raise BadKeyFolder(f"{faults}. {REMEDY}")
        self._take(read)

    def sign(self, subject: str, **more_claims: str) -> str:
        """A token for a player, signed with the current key."""
        self._look_after(LOOK_SECONDS)
        return self._signing_key().signer.sign(subject, **more_claims)

    async def find(self, kid: str) -> Ed25519PublicKey | None:
        """The published key of that id; a `mesh.identity.keys.PublicKeys`."""
        self._look_after(LOOK_SECONDS if kid in self._keys else UNKNOWN_KEY_LOOK_SECONDS)
        held = self._keys.get(kid)
        return None if held is None else held.signer.public_key

    def published(self) -> list[Ed25519PublicKey]:
        """The keys that may have signed a valid token; at most a second old."""
        self._look_after(UNKNOWN_KEY_LOOK_SECONDS)
        return [held.signer.public_key for held in self._keys.values()]

    def listed(self) -> list[ListedKey]:
        """Every key, the oldest first; at most a second old."""
        self._look_after(UNKNOWN_KEY_LOOK_SECONDS)
        now, schedule = self._clock(), self._schedule
        return [
            ListedKey(
                key.kid,
                self._keys[key.kid].path.name,
                schedule.state(key, now),
                key.ready_at,
                schedule.removable_at(key, now),
            )
            for key in schedule.keys
        ]

    @property
    def faults(self) -> tuple[str, ...]:
        """A sentence for each skipped file."""
        return self._faults

    async def keep_looking(self) -> None:
        """Reads the folder every LOOK_SECONDS. Never returns."""
        while True:
            await pause(LOOK_SECONDS)
            try:
                self.look()
                self._signing_key()
            except Exception as error:  # a task must not die unseen
                log.error("fail_signing_keys", exc_info=error)

    def look(self) -> None:
        """Reads the folder's present files."""
        self._looked_at = self._monotonic()
        try:
            stamps = stamps_of(self._folder)
        except OSError as error:
            log.error("fail_signing_key_folder", folder=str(self._folder), error=error.strerror)
            return
        # Read refused files again: the process may have been out of file descriptors.
        if stamps == self._stamps and not self._faults:
            return
        self._stamps = stamps
        read = dict(self._read(is_start=False))
        if not read:
            log.error("lack_signing_keys", folder=str(self._folder), remedy=REMEDY)
            return
        self._take(read)

    def _look_after(self, seconds: float) -> None:
        if self._monotonic() >= self._looked_at + seconds:
            self.look()

    def _signing_key(self) -> _HeldKey:
        held = self._keys[self._schedule.signing(self._clock()).kid]
        if held.signer.key_id != self._signing:
            self._signing = held.signer.key_id
            log.info("begin_signing", kid=self._signing, file=held.path.name)
        return held

    def _take(self, read: Mapping[str, _HeldKey]) -> None:
        if read.keys() != self._keys.keys():
            log.info("read_signing_keys", kids=list(read))
        self._keys = read
        self._schedule = Schedule([held.scheduled for held in read.values()], self._overlap_seconds)
        self._signing_key()

    def _read(self, *, is_start: bool) -> Iterator[tuple[str, _HeldKey]]:
        """The keys of the present files, by their ids. Collects the faults."""
        faults: list[str] = []
        known = {held.path: held for held in self._keys.values()}
        taken: dict[str, Path] = {}
        paths = list(self._stamps)
        for path in paths[:-MAX_SIGNING_KEYS]:
            faults.append(f"{path} is left out: there are more than {MAX_SIGNING_KEYS} keys")
        for path in paths[-MAX_SIGNING_KEYS:]:
            try:
                held = self._held(path, is_start=is_start)
            except RefusedKeyFile as error:
                if path not in known:
                    faults.append(str(error))
                    continue
                held = known[path]
                faults.append(f"{error}; the key that it held before stands")
            kid = held.signer.key_id
            if kid in taken:
                faults.append(f"{path} holds the key of {taken[kid].name} once more")
                continue
            taken[kid] = path
            yield kid, held
        for fault in faults:
            if fault not in self._faults:
                log.error("refuse_signing_key", fault=fault)
        self._faults = tuple(faults)

    def _held(self, path: Path, *, is_start: bool) -> _HeldKey:
        try:
            made_at = rules.made_at_of(path.name)
        except ValueError as error:
            raise RefusedKeyFile(f"{path} is not named as a key: {error}") from None
        key = read_private_key_file(path)
        signer = TokenSigner(key, PLAYER_AUDIENCE, self.lifetime_seconds, self._clock)
        kid, now = signer.key_id, self._clock()
        known = self._keys.get(kid)
        if known is not None and known.path == path:
            return known
        if is_start:
            scheduled = rules.found_at_start(kid, made_at, now, self._overlap_seconds)
        else:
            scheduled = rules.seen_first(kid, made_at, now)
        return _HeldKey(path, signer, scheduled)
