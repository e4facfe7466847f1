"""The median of several measurements of a machine's speed."""

from proof.bench.meters.machine_speed import MachineSpeed, median_speed


def test_each_median_is_taken_on_its_own() -> None:
    speeds = [MachineSpeed(1.0, 30.0), MachineSpeed(2.0, 10.0), MachineSpeed(3.0, 20.0)]
    assert median_speed(speeds) == MachineSpeed(2.0, 20.0)
