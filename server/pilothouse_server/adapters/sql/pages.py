"""Pages by keys: a page begins behind the last row of the one before, so rows that come or go repeat and hide nothing.

A page token holds the sort key of that row and a fingerprint of the list's parameters, and fits nowhere else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Text,
    and_,
    literal,
    true,
    tuple_,
)

from pilothouse_server.domain.errors import InvalidPageToken

Key = Sequence[str | int | None]
"""The sort key of a row."""


class Sort(NamedTuple):
    """One column of an order. All columns of an order go the same way, and the last one tells all rows apart. Only the
    first may be NULL, which comes last either way."""

    column: ColumnElement[Any]
    descending: bool
    type: type[str | int]
    """What the column holds, so that a made-up token is refused instead of asked for."""


def rows(
    connection: Connection,
    query: Select[*tuple[Any, ...]],
    order: Sequence[Sort],
    key: Key | None,
    limit: int,
) -> list[RowMapping]:
    """Up to `limit` rows in that order, those behind the key when there is one. However far behind, the database begins
    there by an index of the order's columns."""
    found: list[RowMapping] = []
    for where, columns in stretches(order, key):
        asked = query.where(where).order_by(*columns).limit(limit - len(found))
        found += connection.execute(asked).mappings().all()
        if len(found) >= limit:
            break
    return found


Stretch = tuple[ColumnElement[bool], Sequence[ColumnElement[Any]]]
"""Rows that follow one another in an index, and their order."""


def stretches(order: Sequence[Sort], key: Key | None) -> Iterator[Stretch]:
    """What follows the key, or all: rows with a value in the first column, then those without."""
    column = order[0].column
    if not _may_be_null(column):
        yield _behind(order, key), _directed(order)
        return
    if key is None or key[0] is not None:
        yield and_(column.is_not(None), _behind(order, key)), _directed(order)
        key = None
    rest = order[1:]
    yield and_(column.is_(None), _behind(rest, key and key[1:])), _directed(rest)


def _directed(order: Sequence[Sort]) -> list[ColumnElement[Any]]:
    return [sort.column.desc() if sort.descending else sort.column.asc() for sort in order]


def _behind(order: Sequence[Sort], key: Key | None) -> ColumnElement[bool]:
    if key is None:
        return true()
    columns = tuple_(*(sort.column for sort in order))
    # A made-up token may have a number that the column cannot hold.
    held = tuple_(
        *(
            literal(value, BigInteger if sort.type is int else Text)
            for sort, value in zip(order, key, strict=True)
        )
    )
    return columns < held if order[0].descending else columns > held


def _may_be_null(column: ColumnElement[Any]) -> bool:
    return bool(getattr(column, "nullable", True))


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
    if None in key[1:] or (key[0] is None and not _may_be_null(order[0].column)):
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
