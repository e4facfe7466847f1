"""The machine's speed is measured with real work."""

import os

from proof.bench.meters.machine_speed import measure_speed


def test_speed_is_measured_and_this_process_may_run_anywhere_again() -> None:
    cores = os.sched_getaffinity(0)
    speed = measure_speed()
    assert os.sched_getaffinity(0) == cores
    assert 1 < speed.additions_ms < 10_000
    assert 0.1 < speed.wake_up_us < 100_000
