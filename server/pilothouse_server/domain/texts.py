"""Texts as each database holds them, so that what is compared or hashed is what is stored."""

from __future__ import annotations


def sound(text: str) -> str:
    """The text with U+FFFD for what PostgreSQL cannot hold: NUL, and halves of surrogate pairs."""
    whole = text.replace("\0", "\ufffd")
    return whole.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
