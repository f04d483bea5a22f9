"""Ids that the server makes: UUIDv7, so that what is made later sorts later."""

from __future__ import annotations

import secrets
import time
import uuid


def uuid7(now_ns: int | None = None) -> str:
    """A new id; its first 48 bits are the time in milliseconds (RFC 9562, section 5.7)."""
    milliseconds = (time.time_ns() if now_ns is None else now_ns) // 1_000_000
    chance = secrets.randbits(74)
    number = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (chance >> 62) << 64
    return str(uuid.UUID(int=number | 0b10 << 62 | chance & 0x3FFF_FFFF_FFFF_FFFF))
