"""How failed attempts to log in slow down the next ones. Pure.

What is counted, and who has to wait for it:

    subject  who is counted together                       free  waits from  up to
    -------  --------------------------------------------  ----  ----------  ------
    account  everybody who names the account, wherever        5  1 s         15 min
             they are, but for its pairs
    pair     those who name the account at an address         5  1 s         15 min
             where it logged in within the last 30 days
    address  everybody at the address, whomever they name,  100  1 s         1 min
             but pairs need not wait for it

- Each failure after the free ones doubles the wait; an hour without any forgets them all.
- An attempt counts as a failure from its beginning. A success takes that back and leaves
  nothing of it, not even its time; for the account or the pair it clears all of them.
- So of attempts made together, each sees those before it, and at most the free ones
  reach a password.
- A stranger's failures never make a pair wait: a player gets in where they always do.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from math import ceil

from mesh.addresses import canonical, site_of
from mesh.errors import ResourceExhausted

FORGET_SECONDS = 3600.0
KNOWN_SECONDS = 30 * 24 * 3600.0
"""For how long an address where an account logged in stays one of its own."""
ANY = b""
"""In a key: all accounts, or all addresses."""
_MAX_DOUBLINGS = 30


class LoginBackoff(ResourceExhausted):
    """Too many attempts failed; no password was looked at."""

    REASON = "LOGIN_BACKOFF"

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(
            "Too many attempts to log in have failed; try again in "
            f"{max(1, ceil(wait_seconds))} s.",
            retry_after_seconds=wait_seconds,
        )


class Kind(StrEnum):
    """The kinds of subjects."""

    ACCOUNT = "account"
    PAIR = "pair"
    ADDRESS = "address"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What a subject is stored by: SHA-256 of the account's name, and of the address. In the
    order of their keys subjects are locked."""

    account_hash: bytes
    address_hash: bytes

    @property
    def kind(self) -> Kind:
        if self.account_hash == ANY:
            return Kind.ADDRESS
        return Kind.ACCOUNT if self.address_hash == ANY else Kind.PAIR


@dataclass(frozen=True, slots=True)
class Standing:
    """The failures of a subject that are not forgotten, and when the last one was, in
    seconds since 1970."""

    failure_count: int = 0
    last_failed_at: float = 0.0


CLEAR = Standing()


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long a kind of subject waits for its next attempt."""

    free_count: int
    first_wait_seconds: float
    longest_wait_seconds: float

    def __post_init__(self) -> None:
        assert self.free_count >= 1, "a first attempt is always free"
        assert 0 < self.first_wait_seconds <= self.longest_wait_seconds < FORGET_SECONDS

    def wait_seconds(self, standing: Standing, now: float) -> float:
        """How long from now until an attempt is allowed; 0 when it is."""
        standing = remembered(standing, now)
        if standing.failure_count < self.free_count:
            return 0.0
        doublings = min(standing.failure_count - self.free_count, _MAX_DOUBLINGS)
        whole = min(self.first_wait_seconds * 2.0**doublings, self.longest_wait_seconds)
        # Another instance's clock may be ahead; that must not make the wait longer.
        return min(whole, max(0.0, standing.last_failed_at + whole - now))


def remembered(standing: Standing, now: float) -> Standing:
    """What is left of it by now."""
    return CLEAR if now - standing.last_failed_at >= FORGET_SECONDS else standing


def after_attempt(standing: Standing, now: float) -> Standing:
    """With one more attempt, which counts as a failure until it is taken back."""
    return Standing(remembered(standing, now).failure_count + 1, now)


def taken_back(standing: Standing, before: Standing) -> Standing:
    """Without an attempt that found `before` when it began, whatever came meanwhile."""
    if standing.failure_count <= 1:
        return CLEAR
    # The earlier of the two: a successful attempt must not keep older failures fresh.
    last_failed_at = min(standing.last_failed_at, before.last_failed_at or standing.last_failed_at)
    return Standing(standing.failure_count - 1, last_failed_at)


@dataclass(frozen=True, slots=True)
class Schedules:
    """One for each kind of subject; a pair has its account's."""

    account: Schedule = Schedule(5, first_wait_seconds=1.0, longest_wait_seconds=900.0)
    address: Schedule = Schedule(100, first_wait_seconds=1.0, longest_wait_seconds=60.0)

    def of(self, kind: Kind) -> Schedule:
        return self.address if kind is Kind.ADDRESS else self.account


def schedules_with(account_free_count: int, address_free_count: int) -> Schedules:
    """The usual ones with other numbers of free attempts."""
    usual = Schedules()
    return Schedules(
        replace(usual.account, free_count=account_free_count),
        replace(usual.address, free_count=address_free_count),
    )


def account_key(username: str) -> Key:
    """Of an account, in any case, whether there is one or not."""
    return Key(_hash(username.lower()), ANY)


def address_key(address: str) -> Key | None:
    """Of an IPv4 address or the /64 of an IPv6 one; None for what is neither, for callers
    of unknown address have nothing in common."""
    spelled = canonical(address)
    return None if spelled is None else Key(ANY, _hash(site_of(spelled)))


def pair_key(account: Key, address: Key) -> Key:
    """Of an account at an address."""
    return Key(account.account_hash, address.address_hash)


def _hash(text: str) -> bytes:
    return sha256(text.encode()).digest()
