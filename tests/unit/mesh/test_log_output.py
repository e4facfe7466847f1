"""Lines that cannot be written are counted, and said as soon as they can be written again."""

import os
from pathlib import Path

from mesh.log_output import LogOutput


def said(count: int) -> bytes:
    return b"lost %d" % count


class Limited:
    """An output into a pipe that is full, and can be emptied."""

    def __init__(self) -> None:
        self.readable, writable = os.pipe()
        os.set_blocking(writable, False)
        os.set_blocking(self.readable, False)
        self.writable = writable
        self.output = LogOutput(writable, said)

    def fill(self) -> None:
        try:
            while True:
                os.write(self.writable, b"x")
        except BlockingIOError:
            pass

    def read(self) -> bytes:
        return os.read(self.readable, 1 << 20)


def test_lost_lines_are_counted_and_said_once_with_the_next_line() -> None:
    limited = Limited()
    limited.fill()
    limited.output.write(b"one")
    limited.output.error(b"two")
    limited.read()
    limited.output.write(b"three")
    limited.output.write(b"four")
    assert limited.read() == b"lost 2\nthree\nfour\n"
    assert limited.output.lost_count == 2


def test_a_line_that_could_not_be_rendered_is_said_too() -> None:
    limited = Limited()
    limited.output.lose()
    limited.output.write(b"one")
    assert limited.read() == b"lost 1\none\n"


def test_a_line_that_broke_off_is_ended_before_the_next_one() -> None:
    limited = Limited()
    long = b"y" * (1 << 20)  # more than a pipe holds
    limited.output.write(long)
    begun = limited.read()
    assert 0 < len(begun) < len(long)
    limited.output.write(b"one")
    assert limited.read() == b"\nlost 1\none\n"


def test_a_closed_descriptor_raises_nothing(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.close(descriptor)
    output = LogOutput(descriptor, said)
    output.write(b"one")
    assert output.lost_count == 1
