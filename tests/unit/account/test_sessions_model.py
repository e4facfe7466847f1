"""A session with its client, a thief, and a network that loses replies.

The model knows which tokens were issued, and to whom. The invariants: one token never has two
successors; a token that was never issued is refused; a client that repeats with its key until it
is answered is never locked out by that; a thief and the client cannot both continue.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from account_svc.domain.refresh_tokens import RefreshToken
from account_svc.domain.sessions import (
    KEPT_ROTATIONS,
    REPEAT_SECONDS,
    Ending,
    RefreshTokenInvalid,
    RefreshTokenReused,
    Refused,
    Repeated,
    Rotated,
    SessionEnded,
    begin,
    judge,
)

BEGAN_AT = datetime(2030, 1, 1, tzinfo=UTC)
SALT = b"s" * 32


@dataclass
class Holder:
    """A holder of a token. `key` is that of a request without an answer yet."""

    token: RefreshToken
    key: str = ""
    is_out: bool = False
    last_token: RefreshToken | None = None
    got_at: datetime = BEGAN_AT


@dataclass
class Known:
    """What the model knows of each generation of tokens."""

    tokens: list[RefreshToken] = field(default_factory=list)
    rotated_at: list[datetime] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)


class ClientAndThief(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.keys = map("key-{}".format, count())
        self.now = BEGAN_AT
        self.session, first = begin(
            "00000000-0000-4000-8000-000000000000",
            "00000000-0000-4000-8000-000000000001",
            SALT,
            b"\x01" * 32,
            self.now,
        )
        self.known = Known([first], [self.now], [""])
        self.client = Holder(first)
        self.thief: Holder | None = None
        self.is_overtaken = False

    @rule(seconds=st.sampled_from((1.0, REPEAT_SECONDS, REPEAT_SECONDS + 1, 900.0, 86_400.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(is_answered=st.booleans())
    def the_client_refreshes(self, is_answered: bool) -> None:
        self.use(self.client, is_answered)

    @rule()
    def a_copy_of_the_clients_request_arrives_late(self) -> None:
        """The network repeats the last answered request."""
        if self.client.last_token is not None:
            key = self.known.keys[self.client.last_token.generation + 1]
            behind = self.session.generation - self.client.last_token.generation
            self.is_overtaken |= behind > KEPT_ROTATIONS
            self.ask(self.client.last_token, key)

    @precondition(lambda self: self.thief is None)
    @rule()
    def a_thief_copies_what_the_client_holds(self) -> None:
        self.thief = Holder(self.client.token)

    @precondition(lambda self: self.thief is not None)
    @rule(is_answered=st.booleans())
    def the_thief_refreshes(self, is_answered: bool) -> None:
        assert self.thief is not None
        self.use(self.thief, is_answered)

    @rule(secret=st.binary(min_size=32, max_size=32), ahead=st.integers(-3, 3))
    def somebody_guesses(self, secret: bytes, ahead: int) -> None:
        generation = max(0, self.session.generation + ahead)
        token = RefreshToken(self.session.session_id, generation, secret)
        if token in self.known.tokens:
            return
        before = self.session
        assert isinstance(self.ask(token, next(self.keys)), RefreshTokenInvalid)
        assert self.session == before

    def use(self, holder: Holder, is_answered: bool) -> None:
        """Refreshes as clients should: with one key until there is an answer."""
        if holder.is_out:
            return
        holder.key = holder.key or next(self.keys)
        answer = self.ask(holder.token, holder.key)
        if not is_answered:
            return
        if isinstance(answer, RefreshToken):
            holder.last_token, holder.token, holder.got_at = holder.token, answer, self.now
        else:
            holder.is_out = True
        holder.key = ""

    def ask(
        self, token: RefreshToken, key: str
    ) -> RefreshToken | RefreshTokenInvalid | SessionEnded | RefreshTokenReused:
        was_over = self.session.ending_at(self.now)
        judged = judge(self.session, token, sha256(key.encode()).digest(), self.now)
        if isinstance(judged, Rotated):
            assert was_over is None
            assert token == self.known.tokens[-1], "only the current token is replaced"
            self.session = judged.session
            self.known.tokens.append(judged.successor)
            self.known.rotated_at.append(self.now)
            self.known.keys.append(key)
            return judged.successor
        if isinstance(judged, Repeated):
            assert was_over is None
            following = token.generation + 1
            assert judged.successor == self.known.tokens[following], "one follows from one"
            is_last = judged.successor == self.known.tokens[-1]
            in_time = self.now - self.known.rotated_at[-1] <= timedelta(seconds=REPEAT_SECONDS)
            assert (is_last and in_time) or key == self.known.keys[following]
            return judged.successor
        assert isinstance(judged, Refused)
        if judged.session is not None:
            assert isinstance(judged.error, RefreshTokenReused)
            assert token in self.known.tokens[:-1]
            self.session = judged.session
        elif token in self.known.tokens:
            assert isinstance(judged.error, SessionEnded), "a genuine one is not called forged"
            assert was_over is not None
        return judged.error

    @invariant()
    def a_client_alone_is_never_taken_for_a_thief(self) -> None:
        """With any losses and late copies, unless many requests overtook a copy."""
        if self.thief is None and not self.is_overtaken:
            assert self.session.ending is None

    @invariant()
    def a_client_and_a_thief_do_not_both_go_on(self) -> None:
        """The one that is behind by more than a repeat is detected."""
        if self.thief is None or self.session.ending is not None:
            return
        generations = {self.client.token.generation, self.thief.token.generation}
        assert max(generations) <= self.session.generation
        both_used = self.session.generation - min(generations) >= 2
        if both_used and not (self.client.is_out or self.thief.is_out):
            behind = min(self.client, self.thief, key=lambda holder: holder.token.generation)
            key = sha256(b"any").digest()
            judged = judge(self.session, behind.token, key, self.now)
            assert isinstance(judged, Refused), "who is behind gets nowhere"

    @invariant()
    def an_ended_session_gives_nothing(self) -> None:
        if self.session.ending is Ending.REUSED:
            for token in self.known.tokens[-3:]:
                assert isinstance(judge(self.session, token, b"k" * 32, self.now), Refused)


TestClientAndThief = ClientAndThief.TestCase
TestClientAndThief.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
