"""Pages by keys: a page begins behind the last row of the one before, so rows that come or go repeat and hide nothing.

A page token holds the sort key of that row and a fingerprint of the list's parameters, and fits nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import BigInteger, ColumnElement, Text, and_, false, literal, or_

from pilothouse_server.domain.errors import InvalidPageToken

Key = Sequence[str | int | None]
"""The sort key of a row."""


class Sort(NamedTuple):
    """One column of an order. NULL comes last, either way."""

    column: ColumnElement[Any]
    descending: bool
    type: type[str | int]
    """What the column holds, so that a made-up token is refused instead of asked for."""


def order_by(order: Sequence[Sort]) -> list[ColumnElement[Any]]:
    """For ORDER BY."""
    return [
        (sort.column.desc() if sort.descending else sort.column.asc()).nulls_last()
        for sort in order
    ]


def behind(order: Sequence[Sort], key: Key) -> ColumnElement[bool]:
    """The rows that come after the key, whose last column tells all rows apart."""
    clause: ColumnElement[bool] = false()
    for sort, value in reversed(list(zip(order, key, strict=True))):
        if value is None:
            clause = and_(sort.column.is_(None), clause)
            continue
        # A made-up token may have a number that the column cannot hold.
        held = literal(value, BigInteger) if isinstance(value, int) else literal(value, Text)
        beyond = sort.column < held if sort.descending else sort.column > held
        clause = or_(beyond, sort.column.is_(None), and_(sort.column == held, clause))
    return clause


def encode(fingerprint: str, key: Key) -> str:
    """The token of the page behind `key`."""
    plain = json.dumps([fingerprint, *key], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def decode(token: str, fingerprint: str, order: Sequence[Sort]) -> Key:
    """The key in a token. Raises InvalidPageToken when it is not one of this list with these parameters."""
    try:
        padded = token + "=" * (-len(token) % 4)
        found: object = json.loads(base64.urlsafe_b64decode(padded.encode("ascii")))
    except (ValueError, binascii.Error, RecursionError):
        raise InvalidPageToken from None
    if not isinstance(found, list):
        raise InvalidPageToken
    said, *key = cast("list[object]", found) or [""]
    fits = said == fingerprint and len(key) == len(order)
    if not fits or not all(map(_fits, order, key)):
        raise InvalidPageToken
    return cast("Key", key)


def fingerprint(*parameters: object) -> str:
    """What tells one list and its parameters from another."""
    return hashlib.sha256(repr(parameters).encode()).hexdigest()[:12]


_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a character, which JSON can name and no text can hold."""


def _fits(sort: Sort, value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, str):
        return sort.type is str and "\0" not in value and _SURROGATE.search(value) is None
    return type(value) is int and sort.type is int and abs(value) < 1 << 63
