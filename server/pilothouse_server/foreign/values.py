"""Times, durations, numbers and texts as others write them. Each raises Undecodable for what it cannot be."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Final

from pilothouse_server.foreign.entries import Undecodable

_SECONDS_FROM: Final = 1e8
"""An epoch time below this is no date that anybody means."""
_SCALES: Final = ((1e11, 1_000_000.0), (1e14, 1000.0), (1e17, 1.0), (1e20, 0.001))
"""Below so much it is in seconds, milliseconds, microseconds, nanoseconds; and how many microseconds each has."""
_NUMBER: Final = re.compile(r"-?\d{1,20}(\.\d{1,20})?")
_DURATION: Final = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?)(ms|us|µs|ns|s|m|h)")
_UNITS_US: Final = {
    "ns": 0.001, "us": 1.0, "µs": 1.0, "ms": 1000.0, "s": 1e6, "m": 60e6, "h": 3600e6,
}  # fmt: skip
_LONGEST_US: Final = 100 * 365 * 86_400 * 1e6


def time_us(name: str, value: object) -> int:
    """Microseconds since the epoch: of an ISO time (UTC where it names no zone), or a number of seconds, milliseconds,
    microseconds or nanoseconds, which their sizes tell apart."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            return _iso_us(name, text)
        value = float(text) if "." in text else int(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Undecodable(f"{name}: not a time")
    if value >= _SECONDS_FROM:
        for below, micros in _SCALES:
            if value < below:
                if isinstance(value, int) and micros >= 1:
                    return value * int(micros)
                return round(value * micros)
    raise Undecodable(f"{name}: {value} is not a time since the epoch")


def _iso_us(name: str, text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        since = time - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise Undecodable(f"{name}: {text[:40]!r} is not a time") from error
    us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if us < 0:
        raise Undecodable(f"{name}: {text[:40]!r} is before 1970")
    return us


def duration_us(name: str, value: object, unit: str = "") -> int:
    """Microseconds of a number in `unit`, or of a text that says its unit, as `1.5s`."""
    if isinstance(value, str):
        text = value.strip()
        if found := _DURATION.fullmatch(text):
            return _bounded(name, float(found[1]) * _UNITS_US[found[2]])
        if not _NUMBER.fullmatch(text):
            raise Undecodable(f"{name}: {text[:40]!r} is not a duration")
        value = float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Undecodable(f"{name}: not a duration")
    if not unit:
        raise Undecodable(
            f'{name}: a number alone has no unit; write {name}_ms, or a text as "1.5s"'
        )
    return _bounded(name, float(value) * _UNITS_US[unit] if abs(value) < 1e18 else math.inf)


def _bounded(name: str, us: float) -> int:
    if not math.isfinite(us) or us > _LONGEST_US:
        raise Undecodable(f"{name}: longer than a hundred years")
    return max(round(us), 0)


def count(name: str, value: object, largest: int) -> int:
    """A number from 0 to the largest."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Undecodable(f"{name}: not a number")
    whole = int(value)
    if whole != value or not 0 <= whole <= largest:
        raise Undecodable(f"{name}: not a whole number from 0 to {largest:,}")
    return whole


def text(name: str, value: object) -> str:
    """A text; numbers are taken as they are written. What is no Unicode is replaced."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    raise Undecodable(f"{name}: not a text")


def described(value: object) -> str:
    """Anything, as a text for people."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
