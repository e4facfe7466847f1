"""The operations that count in a window, and its percentiles."""

import orjson
import pytest

from proof.bench.load.window import LONGEST_ERROR, Window, WindowResult, percentile, write_result

PERCENTILES = {
    "nothing": ([], 0.5, 0.0),
    "one value is every percentile": ([7.0], 0.99, 7.0),
    "the lower of two in the middle": ([1.0, 9.0], 0.5, 1.0),
    "ninety-nine of a hundred": ([float(n) for n in range(1, 101)], 0.99, 99.0),
    "all": ([1.0, 2.0, 3.0], 1.0, 3.0),
    "none is the lowest": ([1.0, 2.0, 3.0], 0.0, 1.0),
}


@pytest.mark.parametrize(
    ("ascending", "share", "expected"), PERCENTILES.values(), ids=PERCENTILES.keys()
)
def test_percentiles_are_values_that_were_measured(
    ascending: list[float], share: float, expected: float
) -> None:
    assert percentile(ascending, share) == expected


def test_only_operations_completed_in_the_window_count(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([100.0, 102.0])
    window = Window(clock=lambda: next(times))
    window.record(9.0)
    window.open()
    window.record(0.001)
    window.record(0.003)
    window.close()
    window.record(9.0)
    assert window.result() == WindowResult(2, 2.0, 1.0, 3.0, 0, "")
    assert capsys.readouterr().out == "opened\nclosed\n"


def test_errors_count_from_first_to_last_and_the_first_is_kept() -> None:
    window = Window()
    window.record_error("503 " + "x" * 2 * LONGEST_ERROR)
    window.open()
    window.record_error("500")
    window.close()
    window.record_error("refused")
    result = window.result()
    assert result.error_count == 3
    assert result.first_error == "503 " + "x" * (LONGEST_ERROR - 4)


def test_a_result_is_read_as_it_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    result = WindowResult(10, 2.5, 1.25, 8.5, 1, 'a "quoted" error\nof two lines')
    write_result(result)
    line, rest = capsys.readouterr().out.split("\n", 1)
    assert rest == ""
    assert WindowResult(**orjson.loads(line)) == result
