"""Input series of unit tests: what `m{a="b"}` and `1+2x3 _ stale` say, and which value there is at a moment.

As promtool has it: the first value is that of moment 0 and one follows in each interval; a sample counts for five
minutes, their end included, or until the series is stale.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import pairwise

from pilothouse_server.rulefiles.promql import NotInSubset, Token, parse_number, tokens, unquoted

LOOKBACK_US = 5 * 60 * 1_000_000
MOST_SAMPLES = 1_000_000
"""In one test."""

NAME = "__name__"


class Gap(Enum):
    """What stands for no value."""

    OMITTED = "_"
    STALE = "stale"


Sample = float | Gap


def parse_series(text: str) -> dict[str, str]:
    """The labels, the metric's name among them as `__name__`; empty ones are none. Raises NotInSubset."""
    words = list(tokens(text))
    for word, following in pairwise(words):
        if "#" in text[word.at + len(word.text) : following.at]:
            raise NotInSubset(word.at + len(word.text), "a comment is not taken here")
    labels: dict[str, str] = {}
    at, end = 0, 0
    if words[0].kind == "name" and words[0].text.lower() not in _NO_METRICS:
        labels[NAME] = words[0].text
        at, end = 1, words[0].at + len(words[0].text)
    if words[at].text == "{" and words[at].kind == "sign" and end in {0, words[at].at}:
        at = _labels(words, at + 1, labels)
        end = words[at - 1].at + 1
    elif not at:
        raise NotInSubset(words[0].at, "expected a metric or {")
    left = text[end:].lstrip(" \t\r\n")
    if left:
        raise NotInSubset(len(text) - len(left), f"{left[:20]!r} was not expected")
    found = {name: value for name, value in labels.items() if value}
    if not found:
        raise NotInSubset(0, "a series has a name or a label at least")
    return found


_NO_METRICS = {"atan2", "bool", "group_left", "group_right", "ignoring", "inf", "nan", "on"}
"""Words that cannot be the name of a metric."""


def _labels(words: Sequence[Token], at: int, labels: dict[str, str]) -> int:
    while words[at].text != "}":
        name = words[at]
        if name.kind != "name" or ":" in name.text:
            raise NotInSubset(name.at, "expected the name of a label")
        if name.text in labels:
            raise NotInSubset(name.at, f"the label {name.text} comes twice")
        # Behind a name there are at least its sign, its value and what follows, or the end comes first.
        sign, value = words[at + 1], words[min(at + 2, len(words) - 1)]
        if sign.text != "=" or value.kind != "text":
            raise NotInSubset(sign.at, 'expected ="…" behind the label')
        try:
            labels[name.text] = unquoted(value.text)
        except ValueError as error:
            raise NotInSubset(value.at, str(error)) from error
        at += 3
        if words[at].text == ",":
            at += 1
        elif words[at].text != "}":
            raise NotInSubset(words[at].at, "expected , or }")
    return at + 1


_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_SPECIAL = re.compile(r"([+-]?)(inf|nan)", re.IGNORECASE | re.ASCII)
_VALUES = re.compile(rf"([+-]?)({_NUMBER})(?:([+-])({_NUMBER}))?(?:x(\d+))?", re.ASCII)
_OMITTED = re.compile(r"_(?:x(\d+))?", re.ASCII)


def parse_values(text: str, room: int = MOST_SAMPLES) -> list[Sample]:
    """The samples, one for each interval; at most `room`. Raises NotInSubset."""
    if "\n" in text:
        at = text.index("\n")
        raise NotInSubset(at, "values stand in one line; write them in quotes instead of behind |")
    samples: list[Sample] = []
    for found in re.finditer(r"[^ \t]+", text):
        word, at = found[0], found.start()
        for sample in _expanded(word, at):
            if len(samples) == room:
                raise NotInSubset(at, f"more than {MOST_SAMPLES:,} samples in one test")
            samples.append(sample)
    return samples


def _expanded(word: str, at: int) -> Iterator[Sample]:
    if word == "stale":
        yield Gap.STALE
    elif found := _OMITTED.fullmatch(word):
        for _ in range(_times(found[1]) if found[1] else 1):
            yield Gap.OMITTED
    elif found := _SPECIAL.fullmatch(word):
        yield _signed(found[1], math.inf if found[2].lower() == "inf" else math.nan)
    elif found := _VALUES.fullmatch(word):
        yield from _run(found, word, at)
    elif "{{" in word:
        raise NotInSubset(at, "histograms are not taken here")
    else:
        told = f"{word!r} is none of 1, 1x3, 1+2x3, 1-2x3, _, _x3, stale, Inf and NaN"
        raise NotInSubset(at, told)


def _run(found: re.Match[str], word: str, at: int) -> Iterator[Sample]:
    sign, number, direction, step, times = found.groups()
    try:
        value = _signed(sign, parse_number(number))
        by = _signed(direction, parse_number(step)) if step else 0.0
    except ValueError as error:
        raise NotInSubset(at, str(error)) from error
    if direction and not times:
        raise NotInSubset(at, f"{word!r} does not say how often, as 1+2x3 does")
    yield value
    if times:
        # Added up one by one, as promtool does: 0.1+0.1x3 is not exactly 0.4 in the end.
        for _ in range(_times(times)):
            value = value + by if step else value
            yield value


def _times(text: str) -> int:
    # Beyond what is read anyway the exact number is of no interest.
    return int(text) if len(text) < 10 else MOST_SAMPLES + 1


def _signed(sign: str | None, value: float) -> float:
    return -value if sign == "-" else value


class Series:
    """One series of a test."""

    def __init__(
        self, labels: Mapping[str, str], samples: Sequence[Sample], interval_us: int
    ) -> None:
        self.labels = labels
        self.identity = tuple(
            sorted((name, value) for name, value in labels.items() if name != NAME)
        )
        """The labels that `and` and `or` go by."""
        self._interval_us = interval_us
        self._samples = samples
        self._newest: list[int] = []
        """For each moment the place of the newest sample, -1 for none."""
        newest = -1
        for place, sample in enumerate(samples):
            newest = newest if sample is Gap.OMITTED else place
            self._newest.append(newest)

    def __len__(self) -> int:
        return len(self._samples)

    def at(self, ts_us: int) -> float | None:
        """Its value at a moment."""
        if not self._newest:
            return None
        place = self._newest[min(ts_us // self._interval_us, len(self._newest) - 1)]
        if place < 0 or ts_us - place * self._interval_us > LOOKBACK_US:
            return None
        sample = self._samples[place]
        return None if isinstance(sample, Gap) else sample
