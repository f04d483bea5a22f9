"""Numbers and texts as Prometheus' templates print them, so that an annotation reads the same in both.

What Go's `fmt` and Prometheus' `humanize` functions do is repeated here to the character, except for what they print of
a wrong type (`%!d(float64=1)`): that is refused before it is printed (`verbs` says what a format takes).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

NO_VALUE = "no value"
"""What is printed of a number that is not known; Prometheus has no such alerts."""

_LARGE = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_SMALL = ("m", "u", "n", "p", "f", "a", "z", "y")
_BINARY = ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")


class NotPrintable(Exception):
    """A value that a function cannot print."""


def number(value: float) -> str:
    """As Go's `%v`: the shortest text that reads as the same, from 1e+06 on and below 0.0001 with an exponent."""
    if not math.isfinite(value):
        return _special(value)
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    digits, exponent = _shortest(abs(value))
    if exponent < -4 or exponent >= 6:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{exponent:+03d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    fraction = digits[exponent + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def humanize(value: float) -> str:
    """With metric prefixes: 1500 is 1.5k."""
    if value == 0 or not math.isfinite(value):
        return _short(value)
    if abs(value) >= 1:
        return _prefixed(value, _LARGE, 1000)
    return _lifted(value)


def humanize_1024(value: float) -> str:
    """With binary prefixes: 2048 is 2ki."""
    if abs(value) <= 1 or not math.isfinite(value):
        return _short(value)
    return _prefixed(value, _BINARY, 1024)


def humanize_duration(value: float) -> str:
    """Seconds as 1h 2m 3s. Beyond 2**63 s Go's answer depends on the processor, and ours is right."""
    if not math.isfinite(value):
        return _short(value)
    if value == 0:
        return f"{_short(value)}s"
    if abs(value) < 1:
        return f"{_lifted(value)}s"
    sign, seconds = ("-" if value < 0 else ""), abs(value)
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hour}h {minute}m {second}s"
    if hour:
        return f"{sign}{hour}h {minute}m {second}s"
    if minute:
        return f"{sign}{minute}m {second}s"
    return f"{sign}{_short(seconds)}s"


def humanize_percentage(value: float) -> str:
    """A ratio as percent."""
    return f"{_short(value * 100)}%"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_NANOSECONDS = float(2**63)


def humanize_timestamp(value: float) -> str:
    """Seconds since the epoch as a date, to the millisecond."""
    if not math.isfinite(value):
        return _short(value)
    nanoseconds = value * 1e9
    if abs(nanoseconds) > _MOST_NANOSECONDS:
        raise NotPrintable(f"{number(value)} seconds are beyond every calendar")
    milliseconds = abs(int(nanoseconds)) // 1_000_000 * (-1 if nanoseconds < 0 else 1)
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    fraction = f".{moment.microsecond // 1000:03d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def to_upper(text: str) -> str:
    """Letter by letter, as Go does: what would become two letters stays."""
    return "".join(_one(letter, letter.upper()) for letter in text)


def to_lower(text: str) -> str:
    """Letter by letter."""
    return "".join(_one(letter, letter.lower()) for letter in text)


def title(text: str) -> str:
    """The first letter of every word in upper case."""
    before = " "
    said: list[str] = []
    for letter in text:
        said.append(_one(letter, letter.title()) if _separates(before) else letter)
        before = letter
    return "".join(said)


class Verb(NamedTuple):
    """One `%…` of a format, or, without a kind, the text between two."""

    text: str
    kind: str = ""
    flags: str = ""
    width: int = 0
    precision: str = ""
    """With its dot, as `.2`."""


VERBS = {
    "e": "a number", "f": "a number", "g": "a number", "d": "a whole number", "s": "a text", "v": "anything",
}  # fmt: skip
"""What may stand after `%`, and what it prints."""

_VERB = re.compile(r"%([-+0]*)(\d{0,2})((?:\.\d{0,2})?)(.?)", re.DOTALL)
_FLAGS = {"d": "-+0", "s": "-", "v": "-0"}


def verbs(text: str) -> tuple[Verb, ...]:
    """A format, taken apart. Raises NotPrintable for what is not known."""
    parts: list[Verb] = []
    at = 0
    while (found := _VERB.search(text, at)) is not None:
        parts.append(Verb(text[at : found.start()]))
        at = found.end()
        flags, width, precision, kind = found.groups()
        if found[0] == "%%":
            parts.append(Verb("%"))
            continue
        if kind not in VERBS:
            allowed = ", ".join(f"%{each}" for each in VERBS)
            raise NotPrintable(f"{found[0]!r} is not known in a format; allowed are {allowed}")
        if set(flags) - set(_FLAGS.get(kind, "-+0")) or (precision and kind == "d"):
            raise NotPrintable(f"{found[0]!r} says more than %{kind} takes")
        parts.append(Verb(found[0], kind, flags, int(width or 0), precision))
    parts.append(Verb(text[at:]))
    return tuple(part for part in parts if part.text)


def printf(parts: Sequence[Verb], arguments: Sequence[str | float | None]) -> str:
    """The parts of a format with one argument for each verb."""
    left = iter(arguments)
    return "".join(_printed(part, next(left)) if part.kind else part.text for part in parts)


def _printed(verb: Verb, value: str | float | None) -> str:
    if value is None:
        return NO_VALUE
    if isinstance(value, str):
        precision = int(verb.precision[1:] or 0) if verb.precision else len(value)
        return _padded(verb, value[:precision])
    if not math.isfinite(value):
        return _padded(verb, _signed(verb, _special(value)))
    if isinstance(value, int):
        said = str(value)
    elif verb.kind in "gv" and not verb.precision:
        said = number(value)
    else:
        said = f"%{verb.precision}{verb.kind.replace('v', 'g')}" % value
    said = _signed(verb, said)
    if "0" in verb.flags and "-" not in verb.flags:
        return said.zfill(verb.width)
    return _padded(verb, said)


def _signed(verb: Verb, said: str) -> str:
    return f"+{said}" if "+" in verb.flags and said[0] not in "+-" else said


def _padded(verb: Verb, said: str) -> str:
    return said.ljust(verb.width) if "-" in verb.flags else said.rjust(verb.width)


def _special(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"


def _short(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else _special(value)


def _prefixed(value: float, prefixes: Sequence[str], base: int) -> str:
    said = ""
    for prefix in prefixes:
        if abs(value) < base:
            break
        said, value = prefix, value / base
    return f"{_short(value)}{said}"


def _lifted(value: float) -> str:
    said = ""
    for prefix in _SMALL:
        if abs(value) >= 1:
            break
        said, value = prefix, value * 1000
    return f"{_short(value)}{said}"


def _shortest(value: float) -> tuple[str, int]:
    """The digits and the decimal exponent of the first of them."""
    mantissa, _, exponent = f"{value!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    shift = len(whole) - 1 - (len(whole + fraction) - len(digits))
    return digits.rstrip("0") or "0", shift + int(exponent or 0) if digits.strip("0") else 0


def _one(letter: str, changed: str) -> str:
    return changed if len(changed) == 1 else letter


def _separates(letter: str) -> bool:
    if letter.isascii():
        return not (letter.isalnum() or letter == "_")
    return letter.isspace()
