"""No token is refused during its life, for any timing of reads, fetches, restarts and removals.

The model has instances that read their copies of the folder, verifiers that fetch keys from any
instance, and operators who rotate keys and remove those that every instance reports as removable.
Each may take any time below its bound, and copies arrive in any order. The model assumes that
every instance signs at every moment, and that every verifier checks every token.
"""

from dataclasses import dataclass, field
from random import Random

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from account_svc.domain.signing import signing_keys
from account_svc.domain.signing.signing_keys import Schedule, ScheduledKey
from mesh.identity.key_files import LOOK_SECONDS
from mesh.identity.published_keys import FETCH_SECONDS

TOKEN_SECONDS = 900
OVERLAP_SECONDS = signing_keys.overlap_seconds(TOKEN_SECONDS)
ANSWER_SECONDS = 3.0
COPY_SECONDS = 8.5
"""Between a file's arrival on the first machine and on the last."""
assert LOOK_SECONDS + FETCH_SECONDS + 2 * ANSWER_SECONDS + COPY_SECONDS < 30


@dataclass
class Instance:
    """An instance of account_svc, with the keys of its folder over time."""

    files: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    keys: dict[str, ScheduledKey] = field(default_factory=dict)
    look_at: float = 0.0

    def there(self, now: float) -> dict[str, float]:
        """The creation times of the keys in the folder."""
        return {
            kid: made_at
            for kid, (made_at, comes, goes) in self.files.items()
            if comes <= now < goes
        }

    def look(self, now: float) -> None:
        self.keys = {
            kid: self.keys.get(kid) or signing_keys.seen_first(kid, made_at, now)
            for kid, made_at in self.there(now).items()
        }

    def restart(self, now: float) -> None:
        self.keys = {
            kid: signing_keys.found_at_start(kid, made_at, now, OVERLAP_SECONDS)
            for kid, made_at in self.there(now).items()
        }

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.keys.values(), OVERLAP_SECONDS)


@dataclass
class Verifier:
    """Keeps the last answer; `taken` is an answer in flight, which arrives at `arrives_at`."""

    known: frozenset[str] = frozenset()
    asks_at: float = 0.0
    taken: frozenset[str] | None = None
    arrives_at: float = 0.0


class AnyRotation(RuleBasedStateMachine):
    """Rotations, removals and restarts, and time between them."""

    @initialize(seed=st.integers(0, 2**32), age=st.sampled_from((0.0, 31.0, 1e6)))
    def begin(self, seed: int, age: float) -> None:
        self.now = 1_800_000_000.0
        self.chance = Random(seed)
        self.count = 1
        first = (self.now - age, self.now - age, float("inf"))
        self.instances = [Instance({"key-0": first}) for _ in range(3)]
        for instance in self.instances:
            instance.restart(self.now)
            instance.look_at = self.now + self.some(LOOK_SECONDS)
        self.verifiers = [Verifier(frozenset({"key-0"})) for _ in range(3)]
        for verifier in self.verifiers:
            verifier.asks_at = self.now + self.some(FETCH_SECONDS)
        self.valid_until: dict[str, float] = {}
        self.made_at = self.now - age

    def some(self, most_seconds: float) -> float:
        """Any time up to a bound; the bound itself is likely."""
        return most_seconds * self.chance.choice((0.0, self.chance.random(), 1.0))

    @rule(seconds=st.sampled_from((0.5, 4.0, 17.0, 29.0, 31.0, 400.0, 950.0)))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            self.sign_everywhere_and_show_everywhere()
            if self.now == end:
                return
            self.now = min(end, self.next_event())
            for instance in self.instances:
                if instance.look_at <= self.now:
                    instance.look(self.now)
                    instance.look_at = self.now + max(0.1, self.some(LOOK_SECONDS))
            for verifier in self.verifiers:
                self.fetch(verifier)

    def next_event(self) -> float:
        ready = [
            key.ready_at
            for instance in self.instances
            for key in instance.keys.values()
            if key.ready_at > self.now
        ]
        looks = [instance.look_at for instance in self.instances]
        asks = [each.arrives_at if each.taken else each.asks_at for each in self.verifiers]
        return min((*ready, *looks, *asks))

    def fetch(self, verifier: Verifier) -> None:
        if verifier.taken is None and verifier.asks_at <= self.now:
            answers = self.chance.choice(self.instances)
            verifier.taken = frozenset(answers.keys)
            verifier.arrives_at = self.now + max(0.01, self.some(ANSWER_SECONDS))
        elif verifier.taken is not None and verifier.arrives_at <= self.now:
            verifier.known, verifier.taken = verifier.taken, None
            verifier.asks_at = self.now + max(0.1, self.some(FETCH_SECONDS))

    def sign_everywhere_and_show_everywhere(self) -> None:
        for instance in self.instances:
            kid = instance.schedule.signing(self.now).kid
            self.valid_until[kid] = self.now + TOKEN_SECONDS
        valid = {kid for kid, until in self.valid_until.items() if until > self.now}
        for verifier in self.verifiers:
            assert valid <= verifier.known, "a verifier refuses a valid token"
        for instance in self.instances:
            assert valid <= instance.keys.keys(), "an instance refuses a valid token"

    @precondition(lambda self: self.now >= self.made_at + 1)
    @rule(away_seconds=st.sampled_from((0.0, 0.0, 29.0, 900.0)))
    def a_key_is_made(self, away_seconds: float) -> None:
        """It may take a quarter of an hour until the key is copied."""
        self.made_at = self.now
        for instance in self.instances:
            comes_at = self.now + away_seconds + self.some(COPY_SECONDS)
            instance.files[f"key-{self.count}"] = (self.now, comes_at, float("inf"))
        self.count += 1

    def removable_at(self) -> dict[str, float]:
        """When each key that every instance has seen superseded may be removed."""
        return {
            kid: max(moment for moment in moments if moment is not None)
            for kid in set.intersection(*(set(each.keys) for each in self.instances))
            for moments in [
                [each.schedule.removable_at(each.keys[kid], self.now) for each in self.instances]
            ]
            if None not in moments
        }

    @precondition(lambda self: self.removable_at())
    @rule(early_seconds=st.sampled_from((0.0, 0.5)))
    def time_passes_until_a_key_may_go(self, early_seconds: float) -> None:
        seconds = min(self.removable_at().values()) - early_seconds - self.now
        self.time_passes(max(0.0, seconds))

    @precondition(lambda self: any(at <= self.now for at in self.removable_at().values()))
    @rule()
    def what_may_go_is_removed(self) -> None:
        for kid, moment in self.removable_at().items():
            if moment <= self.now:
                for instance in self.instances:
                    made_at, comes_at, _ = instance.files[kid]
                    goes_at = self.now + self.some(COPY_SECONDS)
                    instance.files[kid] = (made_at, comes_at, goes_at)

    @rule(number=st.integers(0, 2))
    def an_instance_restarts(self, number: int) -> None:
        self.instances[number].restart(self.now)
        self.sign_everywhere_and_show_everywhere()


TestAnyRotation = AnyRotation.TestCase
TestAnyRotation.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    # A smaller seed is not simpler.
    phases=set(Phase) - {Phase.shrink},
)
