"""Identifiers made on this side: UUIDv7, so that what is made later sorts later."""

from __future__ import annotations

import os
import time
import uuid

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


def uuid7(now_ns: int | None = None) -> str:
    """A new UUIDv7 as text (RFC 9562).

    The twelve bits after the milliseconds are a fraction of the millisecond (method 3 of section 6.2), so that ids made
    in quick succession keep their order; 62 bits are random.
    """
    ns = time.time_ns() if now_ns is None else now_ns
    milliseconds, rest = divmod(ns, 1_000_000)
    fraction = rest * 4096 // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") >> 2
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | _VERSION | fraction << 64 | _VARIANT | random
    digits = f"{value:032x}"
    # Not through uuid.UUID: an engine makes one of these for each event.
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def uuid4() -> str:
    """A new random UUID as text."""
    return str(uuid.uuid4())
