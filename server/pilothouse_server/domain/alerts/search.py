"""What a search among alerts goes by: the words of an alert, and its labels, each as one term.

A word is as long a row of letters and digits as there is, in small letters where it is ASCII; a search finds what begins
with what was asked for. Numbers of the summary are no words: they change while the alert goes on.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from pilothouse_server.domain.filters import ascii_lower

LONGEST: Final = 64
"""Letters of a word that are looked at."""
MOST_WORDS: Final = 256
"""Words of one alert that are found."""

_WORD: Final = re.compile("[0-9A-Za-z\u0080-\U0010ffff]+")


def words_of(text: str) -> list[str]:
    """The words in a text, in order."""
    return [word[:LONGEST] for word in _WORD.findall(ascii_lower(text))]


def label_term(name: str, value: str) -> str:
    """The term of a label; no word begins like it. Two labels may share one, hardly ever."""
    digest = hashlib.blake2s(f"{name}\0{value}".encode(), digest_size=8)
    return f"={digest.hexdigest()}"


def terms_of(rule_name: str, summary: str, labels: Mapping[str, str]) -> str:
    """All terms of an alert, in order, with spaces between them."""
    words = dict.fromkeys(_words(rule_name, summary, labels))
    terms = {label_term(name, value) for name, value in labels.items() if value}
    return " ".join(sorted({*list(words)[:MOST_WORDS], *terms}))


def _words(rule_name: str, summary: str, labels: Mapping[str, str]) -> Iterator[str]:
    yield from words_of(rule_name)
    for _, value in sorted(labels.items()):
        yield from words_of(value)
    yield from (word for word in words_of(summary) if not word.isdecimal())
