"""What a search among alerts goes by: the words of an alert, and its labels, each as one term.

A search finds what begins with what was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

from pilothouse_server.domain.filters import words_of

MOST_WORDS: Final = 256
"""Words of one alert that are found."""


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
    yield from words_of(summary)
