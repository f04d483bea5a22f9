"""Many rows in few statements.

Each statement lets go of the interpreter and has to win it back from a busy loop, and each parameter by name costs as
much as writing it. So rows are tuples in the order of the table's columns. SQLite takes up to `ROWS_AT_ONCE` of them in
one statement; PostgreSQL takes all, as one array for each column, which is a twelfth of the driver's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Table,
    Text,
    and_,
    any_,
    func,
    literal,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

ROWS_AT_ONCE = 64
"""Rows in one statement of SQLite. What is left over is written in halves of it, so that a handful of texts are ever
compiled."""

Row = Sequence[object]


def insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Adds rows. Raises IntegrityError when one of them is there already."""
    _write(connection, table, rows, how=None)


def upsert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Adds rows, or replaces those that have the same primary key, which no two of the rows may have."""
    _write(connection, table, rows, how=())


Merge = tuple[tuple[str, str], ...]
"""For each column that changes, what becomes of it: the `sum`, the `least` or the `greatest` of both."""


def merge(connection: Connection, table: Table, rows: Sequence[Row], how: Merge) -> None:
    """Adds rows, or merges them with those that have the same primary key, which no two of the rows may have. They are
    locked in the order of the rows."""
    _write(connection, table, rows, how=how)


def among(
    connection: Connection, columns: Sequence[Column[Any]], keys: Sequence[Any]
) -> ColumnElement[bool]:
    """The rows with one of these keys: plain values of one column, tuples of several. On PostgreSQL any number of keys
    is one statement, always of the same text; on SQLite a few hundred may be."""
    if not is_postgres(connection):
        if len(columns) == 1:
            return columns[0].in_(keys)
        # SQLite looks up rows of values in no index, so the first of them has to be said alone.
        firsts = dict.fromkeys(key[0] for key in keys)
        return and_(columns[0].in_(list(firsts)), tuple_(*columns).in_(keys))
    if len(columns) == 1:
        return columns[0] == any_(_array(columns[0], keys))
    parts = zip(columns, zip(*keys, strict=True) if keys else [()] * len(columns), strict=True)
    arrays = func.unnest(*(_array(column, values) for column, values in parts))
    listed = arrays.table_valued(*(column.name for column in columns)).render_derived()
    return tuple_(*columns).in_(select(*listed.c))


def keys_at_once(connection: Connection) -> int:
    """How many keys `among` is to be given."""
    return 10_000 if is_postgres(connection) else 250


def is_postgres(connection: Connection) -> bool:
    """Which of the two databases it is."""
    return connection.dialect.name == "postgresql"


def _array(column: Column[Any], values: Sequence[Any]) -> ColumnElement[Any]:
    plain = Text() if isinstance(column.type, Text) else column.type
    return literal(list(values), ARRAY(plain))


def _write(connection: Connection, table: Table, rows: Sequence[Row], *, how: Merge | None) -> None:
    if not rows:
        return
    if is_postgres(connection):
        text = _of_arrays(table, how=how)
        connection.exec_driver_sql(text, tuple(map(list, zip(*rows, strict=True))))
        return
    done = 0
    while done < len(rows):
        count = min(ROWS_AT_ONCE, 1 << ((len(rows) - done).bit_length() - 1))
        values = tuple(chain.from_iterable(rows[done : done + count]))
        connection.exec_driver_sql(_of_values(table, count, how=how), values)
        done += count


@lru_cache(maxsize=256)
def _of_values(table: Table, count: int, *, how: Merge | None) -> str:
    row = f"({', '.join(['?'] * len(table.columns))})"
    return _inserting(table, f"VALUES {', '.join([row] * count)}", how=how)


@lru_cache(maxsize=64)
def _of_arrays(table: Table, *, how: Merge | None) -> str:
    arrays = ", ".join(f"%b::{_type_of(column)}[]" for column in table.columns)
    return _inserting(table, f"SELECT * FROM unnest({arrays})", how=how)  # noqa: S608 - our own names


def _inserting(table: Table, rows: str, *, how: Merge | None) -> str:
    names = [column.name for column in table.columns]
    text = f"INSERT INTO {table.name} ({_listed(names)}) {rows}"
    if how is None:
        return text
    keys = [column.name for column in table.primary_key.columns]
    changes = how or [(name, "new") for name in names if name not in keys]
    changed = ", ".join(f'"{name}" = {_merged(table, name, each)}' for name, each in changes)
    return f"{text} ON CONFLICT ({_listed(keys)}) DO UPDATE SET {changed}"


def _merged(table: Table, name: str, how: str) -> str:
    old, new = f'{table.name}."{name}"', f'excluded."{name}"'
    match how:
        case "sum":
            return f"{old} + {new}"
        case "least":
            return f"CASE WHEN {new} < {old} THEN {new} ELSE {old} END"
        case "greatest":
            return f"CASE WHEN {new} > {old} THEN {new} ELSE {old} END"
        case _:
            return new


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


_TYPES = (
    (Text, "text"),
    (BigInteger, "bigint"),
    (Integer, "integer"),
    (Boolean, "boolean"),
    (LargeBinary, "bytea"),
    (Float, "double precision"),
)
"""What arrays of a column's values are of, in PostgreSQL's words; the first that fits counts."""


def _type_of(column: Column[Any]) -> str:
    for kind, name in _TYPES:
        if isinstance(column.type, kind):
            return name
    raise TypeError(f"no arrays of {column.type!r} are written")
