"""The server's clock on a wall that somebody moves."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from pilothouse_server.adapters.clock import SystemClock

SECOND = 1_000_000
HOUR = 3600 * SECOND
START = 1_800_000_000 * SECOND


@dataclass
class Machine:
    """A wall clock, and time that really passes."""

    wall_us: int = START
    passed_us: int = 0

    def clock(self) -> SystemClock:
        """The server's clock on this machine."""
        return SystemClock(lambda: self.wall_us * 1000, lambda: self.passed_us * 1000)

    def wait(self, seconds: int) -> None:
        """Lets time pass."""
        self.wall_us += seconds * SECOND
        self.passed_us += seconds * SECOND


def test_time_follows_the_wall() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wait(10)
    assert clock.now_us() == START + 10 * SECOND
    assert clock.stepped_us == 0


def test_time_goes_on_at_half_speed_when_the_wall_is_put_back() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_us -= HOUR
    told = [clock.now_us()]
    while told[-1] != machine.wall_us:
        machine.wait(60)
        told.append(clock.now_us())
    assert {later - earlier for earlier, later in pairwise(told)} == {30 * SECOND}
    assert machine.passed_us == 2 * HOUR
    machine.wait(60)
    assert clock.now_us() == machine.wall_us
    assert clock.stepped_us == 0


def test_time_follows_at_once_and_says_so_when_the_wall_is_put_forward() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wait(1)
    machine.wall_us += HOUR
    assert clock.now_us() == START + HOUR + SECOND
    assert clock.stepped_us == HOUR
