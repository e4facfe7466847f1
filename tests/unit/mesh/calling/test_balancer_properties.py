"""Invariants of the balancer after any sequence of events."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mesh.calling.balancer import ATTEMPTS_ON_AN_INSTANCE, Attempt, Balancer, Tries
from mesh.calling.breaker import AttemptResult
from mesh.contract.instances import Instance, InstanceState

IDS = ("a", "b", "c", "d")
instance_lists = st.lists(
    st.builds(
        Instance,
        id=st.sampled_from(IDS),
        service=st.just("gacha_svc"),
        address=st.sampled_from(("host:1", "host:2")),
        state=st.sampled_from(InstanceState),
    ),
    unique_by=lambda instance: instance.id,
)


class AnyMesh(RuleBasedStateMachine):
    """Calls, reports, changes of the list and the passing of time, in any order."""

    calls = Bundle("calls")
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.balancer = Balancer(lambda: self.now)
        self.listed: dict[str, Instance] = {}
        self.running: list[Attempt] = []
        self.blemished: set[str] = set()

    @rule(instances=instance_lists)
    def the_list_changes(self, instances: list[Instance]) -> None:
        self.listed = {instance.id: instance for instance in instances}
        self.balancer.update(instances)

    @rule(seconds=st.sampled_from((0.001, 0.1, 0.6, 1.0, 6.0)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=calls)
    def a_call_begins(self) -> Tries:
        return Tries()

    @rule(target=attempts, tries=calls)
    def an_attempt_begins(self, tries: Tries) -> Attempt | None:
        if any(attempt.tries is tries for attempt in self.running):
            return None  # a call makes one attempt at a time
        open_before = self.balancer.open_instances()
        attempt = self.balancer.pick(tries)
        if attempt is None:
            self._none_is_left_for(tries)
            return None
        instance = attempt.instance
        assert self.listed[instance.id] == instance
        assert instance.id not in tries.failed_on
        assert tries.attempt_counts[instance.id] <= ATTEMPTS_ON_AN_INSTANCE
        if instance.id in open_before or not instance.is_serving:
            self._nothing_better_was_left(attempt, open_before)
        self.running.append(attempt)
        return attempt

    def _none_is_left_for(self, tries: Tries) -> None:
        probed = {a.instance.id for a in self.running if a.breaker.probe_is_out}
        assert set(self.listed) <= tries.failed_on | (probed & set(self.balancer.open_instances()))

    def _nothing_better_was_left(self, chosen: Attempt, open_before: tuple[str, ...]) -> None:
        """A forced probe or a draining instance is chosen only if no closed one is left."""
        was_open = chosen.instance.id in open_before
        was_forced = was_open and chosen.breaker.seconds_to_half_open(self.now) > 0
        if chosen.instance.is_serving and not was_forced:
            return
        for id, instance in self.listed.items():
            is_better = instance.is_serving or was_forced
            if id != chosen.instance.id and is_better and id not in chosen.tries.failed_on:
                assert id in open_before

    @rule(attempt=consumes(attempts), result=st.sampled_from(AttemptResult))
    def an_attempt_ends(self, attempt: Attempt | None, result: AttemptResult) -> None:
        if attempt is None:
            return
        self.running.remove(attempt)
        if result in (AttemptResult.BROKE, AttemptResult.TIMED_OUT):
            self.blemished.add(attempt.instance.id)
        self.balancer.report(attempt, result)

    @invariant()
    def whoever_always_answered_is_in(self) -> None:
        assert set(self.balancer.open_instances()) <= self.blemished

    @invariant()
    def there_is_one_probe_at_a_time(self) -> None:
        probes = [a for a in self.running if a.breaker.is_probe(a.serial)]
        assert len({id(probe.breaker) for probe in probes}) == len(probes)


TestAnyMesh = AnyMesh.TestCase
TestAnyMesh.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
