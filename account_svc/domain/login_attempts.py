"""Failed attempts to log in delay the next ones. Pure.

Attempts are counted by three kinds of subjects:

    subject  attempts that it counts                       free  first wait  longest
    -------  --------------------------------------------  ----  ----------  -------
    account  on the account from any address,                 5  1 s         15 min
             except those of its pairs
    pair     on the account from an address where it          5  1 s         15 min
             logged in within the last 30 days
    address  from the address on any account;               100  1 s         1 min
             pairs skip this limit
    /56      the same for the IPv6 networks around          400  1 s         1 min
    /48      the address's /64                            1,600  1 s         1 min

- Each failure after the free ones doubles the wait. An hour without a failure clears all.
- An attempt counts as a failure from its start. A success undoes that completely, also its
  time; it clears all failures of the account or the pair.
- So concurrent attempts see one another, and at most the free ones check a password.
- A stranger's failures never delay a pair: players can log in from their known addresses.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from math import ceil

from mesh.addresses import canonical, networks_of
from mesh.errors import ResourceExhausted

FORGET_SECONDS = 3600.0
KNOWN_SECONDS = 30 * 24 * 3600.0
"""How long an address stays known for an account that logged in there."""
ANY = b""
"""Stands in a key for all accounts, or all addresses."""
NETWORK_FACTOR = 4
"""How many times the free attempts of a /64 its /56 has, and of a /56 its /48."""
_MAX_DOUBLINGS = 30


class LoginBackoff(ResourceExhausted):
    """Too many attempts failed; the password was not checked."""

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
    """The stored key of a subject: SHA-256 of the account's name and of the address. Subjects
    are locked in the order of their keys."""

    account_hash: bytes
    address_hash: bytes

    @property
    def kind(self) -> Kind:
        if self.account_hash == ANY:
            return Kind.ADDRESS
        return Kind.ACCOUNT if self.address_hash == ANY else Kind.PAIR


@dataclass(frozen=True, slots=True)
class Standing:
    """The counted failures of a subject, and the time of the last one in seconds since 1970."""

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
        """Seconds until an attempt is allowed; 0 if it is allowed now."""
        standing = remembered(standing, now)
        if standing.failure_count < self.free_count:
            return 0.0
        doublings = min(standing.failure_count - self.free_count, _MAX_DOUBLINGS)
        whole = min(self.first_wait_seconds * 2.0**doublings, self.longest_wait_seconds)
        # Another instance's clock may be ahead; that must not lengthen the wait.
        return min(whole, max(0.0, standing.last_failed_at + whole - now))


def remembered(standing: Standing, now: float) -> Standing:
    """The standing now: empty if the last failure is too old."""
    return CLEAR if now - standing.last_failed_at >= FORGET_SECONDS else standing


def after_attempt(standing: Standing, now: float) -> Standing:
    """The standing with one more attempt, which counts as a failure until it is taken back."""
    return Standing(remembered(standing, now).failure_count + 1, now)


def taken_back(standing: Standing, before: Standing) -> Standing:
    """The standing without one attempt, which found `before` at its start; keeps the later
    failures of others."""
    if standing.failure_count <= 1:
        return CLEAR
    # Use the earlier time: a successful attempt must not prolong older failures.
    last_failed_at = min(standing.last_failed_at, before.last_failed_at or standing.last_failed_at)
    return Standing(standing.failure_count - 1, last_failed_at)


@dataclass(frozen=True, slots=True)
class Schedules:
    """The schedule for each kind of subject; pairs use the accounts' schedule."""

    account: Schedule = Schedule(5, first_wait_seconds=1.0, longest_wait_seconds=900.0)
    address: Schedule = Schedule(100, first_wait_seconds=1.0, longest_wait_seconds=60.0)

    def of_network(self, number: int) -> Schedule:
        """That of the number-th of `address_keys`: each wider network has more free attempts."""
        free_count = self.address.free_count * NETWORK_FACTOR**number
        return replace(self.address, free_count=free_count)


def schedules_with(account_free_count: int, address_free_count: int) -> Schedules:
    """The default schedules with these numbers of free attempts."""
    usual = Schedules()
    return Schedules(
        replace(usual.account, free_count=account_free_count),
        replace(usual.address, free_count=address_free_count),
    )


def account_key(username: str) -> Key:
    """The key of an account, ignoring case; the account need not exist."""
    return Key(_hash(username.lower()), ANY)


def address_keys(address: str) -> tuple[Key, ...]:
    """The key of an IPv4 address; or those of an IPv6 address's /64, /56 and /48. Empty for
    anything else: callers with unknown addresses must not be counted together."""
    spelled = canonical(address)
    if spelled is None:
        return ()
    return tuple(Key(ANY, _hash(network)) for network in networks_of(spelled))


def pair_key(account: Key, address: Key) -> Key:
    """The key of an account at an address."""
    return Key(account.account_hash, address.address_hash)


def _hash(text: str) -> bytes:
    return sha256(text.encode()).digest()
