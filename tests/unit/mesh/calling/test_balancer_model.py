"""The balancer agrees with its model after any sequence of events."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mesh.calling.balancer import Attempt, Balancer, Tries
from mesh.calling.breaker import AttemptResult
from mesh.contract.instances import Instance, InstanceState
from tests.unit.mesh.calling.balancer_model import (
    End,
    ModelBalancer,
    State,
    TriedAttempt,
    TriedCall,
)

IDS = ("a", "b", "c")
ENDS = {
    AttemptResult.ANSWERED: End.ANSWER,
    AttemptResult.BROKE: End.BREAK,
    AttemptResult.TIMED_OUT: End.TIMEOUT,
    AttemptResult.GIVEN_UP: End.NOTHING,
}
MOSTLY_BREAKS = (AttemptResult.BROKE, AttemptResult.BROKE, AttemptResult.BROKE, *AttemptResult)
instance_lists = st.dictionaries(
    st.sampled_from(IDS),
    st.tuples(st.sampled_from(("host:1", "host:2")), st.sampled_from((True, True, False))),
)


class Pair:
    """One attempt in the balancer and in the model."""

    def __init__(self, real: Attempt, model: TriedAttempt) -> None:
        self.real = real
        self.model = model


class BothSides(RuleBasedStateMachine):
    """Applies each event to the balancer and to the model, and compares them."""

    calls = Bundle("calls")
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.balancer = Balancer(lambda: self.now)
        self.model = ModelBalancer()
        self.busy: set[Tries] = set()
        self._list({"a": ("host:1", True), "b": ("host:1", True)})

    def _list(self, instances: dict[str, tuple[str, bool]]) -> None:
        self.model.update(instances)
        self.balancer.update(
            Instance(
                id,
                "gacha_svc",
                address,
                InstanceState.SERVING if serves else InstanceState.DRAINING,
            )
            for id, (address, serves) in instances.items()
        )

    @rule(instances=instance_lists)
    def the_list_changes(self, instances: dict[str, tuple[str, bool]]) -> None:
        self._list(instances)

    @rule(seconds=st.sampled_from((0.001, 0.1, 0.3, 0.5, 1.0, 2.0, 6.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=calls, is_kept_together=st.booleans())
    def a_call_begins(self, is_kept_together: bool) -> tuple[Tries, TriedCall]:
        return Tries(is_kept_together), TriedCall()

    @rule()
    def the_first_cool_down_passes(self) -> None:
        self.now += self.balancer.seconds_to_half_open()

    @rule(
        results=st.lists(st.sampled_from(MOSTLY_BREAKS), min_size=1, max_size=6),
        seconds=st.sampled_from((0.0, 0.1, 0.6)),
    )
    def a_whole_call_is_made(self, results: list[AttemptResult], seconds: float) -> None:
        call = Tries(), TriedCall()
        for result in results:
            pair = self._begin(call)
            self.now += seconds
            self._end(pair, result)

    @rule(
        results=st.lists(
            st.sampled_from((AttemptResult.TIMED_OUT, AttemptResult.TIMED_OUT, *AttemptResult)),
            min_size=2,
            max_size=9,
        ),
    )
    def calls_overlap(self, results: list[AttemptResult]) -> None:
        pairs = [self._begin((Tries(), TriedCall())) for _ in results]
        self.now += 0.6
        for pair, result in zip(pairs, results, strict=True):
            self._end(pair, result)

    @rule(
        times=st.integers(1, 5),
        result=st.sampled_from((AttemptResult.BROKE, AttemptResult.TIMED_OUT)),
    )
    def probes_fail_one_after_the_other(self, times: int, result: AttemptResult) -> None:
        for _ in range(times):
            self.the_first_cool_down_passes()
            self.a_whole_call_is_made([result], 0.6)

    @rule(target=attempts, call=calls)
    def an_attempt_begins(self, call: tuple[Tries, TriedCall]) -> Pair | None:
        return self._begin(call)

    def _begin(self, call: tuple[Tries, TriedCall]) -> Pair | None:
        tries, tried = call
        if tries in self.busy:
            return None  # a call makes one attempt at a time
        allowed = self.model.allowed(tried, self.now)
        attempt = self.balancer.pick(tries)
        if attempt is None:
            assert not allowed
            return None
        id = attempt.instance.id
        assert id in allowed
        is_last = not self.model.others_are_ready(id, tried, self.now)
        assert attempt.is_last is is_last
        self.busy.add(tries)
        model = self.model.begin(id, tried, self.now)
        assert attempt.number == model.number
        return Pair(attempt, model)

    @rule(pair=consumes(attempts), result=st.sampled_from(MOSTLY_BREAKS))
    def an_attempt_ends(self, pair: Pair | None, result: AttemptResult) -> None:
        self._end(pair, result)

    def _end(self, pair: Pair | None, result: AttemptResult) -> None:
        if pair is None:
            return
        self.busy.discard(pair.real.tries)
        self.balancer.report(pair.real, result)
        self.model.end(pair.model, ENDS[result], self.now)
        assert pair.real.tries.failed_on == pair.model.call.done_with

    @invariant()
    def the_same_instances_are_out(self) -> None:
        out = {id for id, breaker in self.model.breakers.items() if breaker.is_tripped}
        assert set(self.balancer.open_instances()) == out

    @invariant()
    def both_know_when_the_first_is_back(self) -> None:
        waits = [
            0.0
            if breaker.state(self.now) is not State.OPEN
            else breaker.tripped_at + breaker.cool_down - self.now
            for breaker in self.model.breakers.values()
        ]
        told = self.balancer.seconds_to_half_open()
        assert abs(told - min(waits, default=1.0)) < 1e-9


TestBothSides = BothSides.TestCase
TestBothSides.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
