"""Many rows in few statements.

Each statement lets go of the interpreter and has to win it back from a busy loop, and each parameter by name costs as
much as writing it; so rows are tuples in the order of the table's columns, and up to `ROWS_AT_ONCE` of them are one
statement.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import chain

from sqlalchemy import Connection, Table

ROWS_AT_ONCE = 64
"""Rows in one statement. What is left over is written in halves of it, so that a handful of texts are ever compiled."""

Row = Sequence[object]


def insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Adds rows. Raises IntegrityError when one of them is there already."""
    _write(connection, table, rows, upsert=False)


def upsert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Adds rows, or replaces those that have the same primary key."""
    _write(connection, table, rows, upsert=True)


def delete(connection: Connection, table: Table, keys: Collection[str]) -> None:
    """Deletes by a primary key of one column."""
    left = list(keys)
    while left:
        count = _size(len(left))
        now, left = left[:count], left[count:]
        connection.exec_driver_sql(_deleting(table, count, _mark(connection)), tuple(now))


def _write(connection: Connection, table: Table, rows: Sequence[Row], *, upsert: bool) -> None:
    done = 0
    while done < len(rows):
        count = _size(len(rows) - done)
        text = _writing(table, count, _mark(connection), upsert=upsert)
        values = tuple(chain.from_iterable(rows[done : done + count]))
        connection.exec_driver_sql(text, values)
        done += count


def _size(left: int) -> int:
    """The largest halving of ROWS_AT_ONCE that is not more than `left`."""
    return min(ROWS_AT_ONCE, 1 << (left.bit_length() - 1))


def _mark(connection: Connection) -> str:
    """How the driver writes a parameter."""
    return "?" if connection.dialect.paramstyle == "qmark" else "%s"


@lru_cache(maxsize=256)
def _writing(table: Table, count: int, mark: str, *, upsert: bool) -> str:
    names = [column.name for column in table.columns]
    row = f"({', '.join([mark] * len(names))})"
    text = f"INSERT INTO {table.name} ({_listed(names)}) VALUES {', '.join([row] * count)}"  # noqa: S608 - our own names
    if not upsert:
        return text
    keys = [column.name for column in table.primary_key.columns]
    changed = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in keys)
    return f"{text} ON CONFLICT ({_listed(keys)}) DO UPDATE SET {changed}"


@lru_cache(maxsize=64)
def _deleting(table: Table, count: int, mark: str) -> str:
    (key,) = table.primary_key.columns
    return f'DELETE FROM {table.name} WHERE "{key.name}" IN ({", ".join([mark] * count)})'  # noqa: S608 - our own names


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
