"""A database that notes how each statement is answered: by the database's own EXPLAIN, with the statement's values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, event

from pilothouse_server.adapters.sql.database import Database

T = TypeVar("T")


class _UndoneError(Exception):
    """Ends a transaction of which nothing is to be kept."""


@dataclass
class ExplainedDatabase:
    """Implements `Database`; keeps nothing of what is written."""

    database: Database
    scanned: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """(table, statement) of each table that was read from one end to the other."""
    statements: list[str] = field(default_factory=list[str])

    async def write(self, run: Callable[[Connection], T], *, beside: bool = False) -> T:
        found: list[T] = []

        def undone(connection: Connection) -> None:
            found.append(self._explained(connection, run))
            raise _UndoneError

        try:
            await self.database.write(undone, beside=beside)
        except _UndoneError:
            return found[-1]
        raise AssertionError("what raises cannot end well")

    async def read(self, run: Callable[[Connection], T]) -> T:
        return await self.database.read(lambda connection: self._explained(connection, run))

    @property
    def waiting(self) -> int:
        return self.database.waiting

    async def close(self) -> None:
        """Nothing: it is another's."""

    def _explained(self, connection: Connection, run: Callable[[Connection], T]) -> T:
        event.listen(connection, "before_cursor_execute", self._explain)
        try:
            return run(connection)
        finally:
            event.remove(connection, "before_cursor_execute", self._explain)

    def _explain(
        self, connection: Connection, cursor: Any, statement: str, values: Any, _: Any, many: bool
    ) -> None:
        if not statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            return
        self.statements.append(statement)
        given = values[0] if many else values
        asking = cursor.connection.cursor()
        if connection.dialect.name == "sqlite":
            asking.execute(f"EXPLAIN QUERY PLAN {statement}", given)
            tables = _sqlite_scans(asking.fetchall(), statement)
        else:
            asking.execute(f"EXPLAIN (FORMAT JSON) {statement}", given)
            plan = asking.fetchone()[0]
            tables = _postgres_scans(
                (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
            )
        self.scanned += [(table, statement) for table in tables]


def _sqlite_scans(rows: list[tuple[Any, ...]], statement: str) -> Iterator[str]:
    details = [row[-1] for row in rows]
    # In the order of the table itself, and only until there are enough.
    bounded = "LIMIT" in statement and not any("TEMP B-TREE" in detail for detail in details)
    for detail in details:
        found = re.fullmatch(r"SCAN (\w+)", detail)
        if found is not None and not bounded:
            yield found[1]


def _postgres_scans(node: dict[str, Any], *, bounded: bool = False) -> Iterator[str]:
    """`bounded`: only until there are enough, as nothing in between wants all of it."""
    kind = node["Node Type"]
    if kind == "Seq Scan" and not bounded:
        yield node["Relation Name"]
    bounded = kind == "Limit" or (
        bounded and kind not in ("Sort", "Incremental Sort", "Aggregate", "Hash")
    )
    for child in node.get("Plans", ()):
        yield from _postgres_scans(child, bounded=bounded)
