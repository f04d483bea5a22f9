"""How values are typed and shown: times, durations, states, and text that comes from strangers.

Shown text is neutralised: a workflow's name may hold an escape sequence that clears the screen, or a newline that fakes
a row.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_SPOKEN = {"\n": "⏎", "\t": "→", "\r": "␍"}


def neutral(text: str) -> str:
    """`text` in one line, with what a terminal would obey shown instead of sent: control characters, escapes, direction
    marks."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_neutral_character(each) for each in text)


def _neutral_character(character: str) -> str:
    if character in _SPOKEN:
        return _SPOKEN[character]
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    if unicodedata.category(character) in _UNSEEN:
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character


def parse_duration(text: str) -> Duration:
    """ "90s", "5m", "1h30m", "250ms", or seconds. Raises ValueError."""
    rest = text.strip().lower().replace(" ", "")
    parts = _PART.findall(rest)
    if parts and "".join(number + unit for number, unit in parts) == rest:
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    else:
        try:
            seconds = float(rest)
        except ValueError:
            raise ValueError(
                f'{text!r} is not a duration, such as "90s", "5m" or "1h30m"'
            ) from None
    if not 0 <= seconds <= 315_576_000_000:
        raise ValueError(f"{text!r} is out of range")
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def parse_time(text: str, now: dt.datetime) -> Timestamp:
    """RFC 3339, "now", or before or after now: "-1h30m", "+2h". Raises ValueError."""
    words = text.strip()
    stamp = Timestamp()
    if words == "now":
        stamp.FromDatetime(now)
    elif words.startswith(("-", "+")):
        away = parse_duration(words[1:]).ToTimedelta()
        try:
            stamp.FromDatetime(now - away if words.startswith("-") else now + away)
        except OverflowError:
            raise ValueError(f"{text!r} is out of range") from None
    else:
        try:
            when = dt.datetime.fromisoformat(words)
        except ValueError:
            message = (
                f'{text!r} is not a time, such as "2026-01-31T12:00:00Z", "-1h", "+2h" or "now"'
            )
            raise ValueError(message) from None
        stamp.FromDatetime(when.astimezone(dt.UTC))
    return stamp


def show_seconds(seconds: float) -> str:
    """A length of time for people: 950 µs, 12 ms, 1.2 s, 3m 20s, 2h 05m, 4d 3h."""
    if seconds < 0:
        return "-" + show_seconds(-seconds)
    if seconds < 60:
        return _show_small(seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02}s" if rest else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes:02}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d {hours}h" if hours else f"{days}d"


def _show_small(seconds: float) -> str:
    if seconds == 0:
        return "0 s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            number = seconds / size
            return (
                f"{number:.0f} {unit}"
                if number >= 10 or number == round(number)
                else f"{number:.1f} {unit}"
            )
    return ""


def show_duration(duration: Duration) -> str:
    """The same for a duration."""
    return show_seconds(duration.seconds + duration.nanos / 1e9)


def show_time(stamp: Timestamp, now: dt.datetime | None) -> str:
    """How long ago, when `now` is given; else RFC 3339. What cannot be a time is shown as its numbers."""
    try:
        when = stamp.ToDatetime(dt.UTC)
    except (ValueError, OverflowError):
        return f"{stamp.seconds}s"
    if now is None:
        return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ago = (now - when).total_seconds()
    if abs(ago) < 1:
        return "now"
    words = show_seconds(float(round(abs(ago))))
    return f"{words} ago" if ago > 0 else f"in {words}"


def show_number(value: float) -> str:
    """A number with as many digits as help."""
    if isinstance(value, int):
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - that is how NaN is found
        return str(value)
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"


@dataclass(frozen=True)
class Look:
    """How a word that says a state is shown: a symbol, so that it is not known by colour alone, and a colour."""

    symbol: str
    style: str


_GOOD, _BUSY, _BAD, _WARN, _DIM = "green", "cyan", "red", "yellow", "bright_black"

LOOKS = {
    **dict.fromkeys(("COMPLETED", "EFFECTIVE", "RESOLVED", "HEALTHY", "OK"), Look("✔", _GOOD)),
    **dict.fromkeys(("RUNNING", "ONLINE", "BUSY", "ACCEPTED", "ASSIGNED"), Look("●", _BUSY)),
    **dict.fromkeys(
        ("FAILED", "CRITICAL", "UNHEALTHY", "ERROR", "OFFLINE", "DOWN"), Look("✖", _BAD)
    ),
    **dict.fromkeys(("FIRING",), Look("▲", _BAD)),
    **dict.fromkeys(("WARNING", "DEGRADED", "RECOVERING"), Look("▲", _WARN)),
    **dict.fromkeys(("PAUSED",), Look("‖", _WARN)),
    **dict.fromkeys(("WAITING", "RETRYING", "DRAINING", "PENDING"), Look("◔", _WARN)),
    **dict.fromkeys(("QUEUED", "REQUESTED"), Look("○", _DIM)),
    **dict.fromkeys(("CANCELLED", "EXPIRED", "SKIPPED"), Look("⊘", _DIM)),
    "UNKNOWN": Look("?", _DIM),
}
"""By the word, whatever enum it is of: the contract uses one word for one thing."""
