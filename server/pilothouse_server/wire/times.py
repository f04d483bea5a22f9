"""Timestamps and durations of the contract ⇄ microseconds. Nanoseconds below a microsecond are cut off."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

SECOND_US = 1_000_000

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, the last that a Timestamp can say."""
LONGEST_SECONDS = 315_576_000_000
"""Some 10,000 years, the longest that a Duration can say."""
BILLION = 1_000_000_000


def timestamp(us: int) -> Timestamp:
    """The time `us` microseconds after the epoch."""
    seconds, rest = divmod(us, SECOND_US)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def optional_timestamp(us: int | None) -> Timestamp | None:
    """The same; absent for None, since a field that is given None is not set."""
    return None if us is None else timestamp(us)


def duration(us: int) -> Duration:
    """A duration of `us` microseconds; its two parts have one sign."""
    seconds, rest = divmod(abs(us), SECOND_US)
    sign = -1 if us < 0 else 1
    return Duration(seconds=sign * seconds, nanos=sign * rest * 1000)


def optional_duration(us: int | None) -> Duration | None:
    """The same; absent for None."""
    return None if us is None else duration(us)


def timestamp_us(value: Timestamp) -> int:
    """Microseconds since the epoch."""
    return value.seconds * SECOND_US + value.nanos // 1000


def duration_us(value: Duration) -> int:
    """Microseconds, cut towards zero."""
    sign = -1 if value.seconds < 0 or value.nanos < 0 else 1
    return sign * (abs(value.seconds) * SECOND_US + abs(value.nanos) // 1000)


def is_valid_timestamp(value: Timestamp) -> bool:
    """Whether it is a time from 1970 to 9999."""
    return 0 <= value.seconds <= LAST_SECOND and 0 <= value.nanos < BILLION


def is_valid_duration(value: Duration) -> bool:
    """Whether it is within what the type allows, its two parts of one sign."""
    seconds, nanos = value.seconds, value.nanos
    in_range = abs(seconds) <= LONGEST_SECONDS and abs(nanos) < BILLION
    return in_range and not (seconds < 0 < nanos or nanos < 0 < seconds)
