"""What finds events among millions beside their own indexes: counts of each minute, hour and day, and those that were
late.

The index of words is each database's own and not among these: see `event_search`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, Table, text

from pilothouse_server.adapters.sql.metadata import metadata
from pilothouse_server.adapters.sql.tables_projection import EVENTS

LATE_US: Final = 120_000_000
"""An event that was received so much after it happened is late: its place says little about its time."""
LATE: Final = f"events.occur_us < events.receive_us - {LATE_US}"
"""As the partial index says it: a database sees that one has all the rows only when a query says the same."""

EVENT_COUNTS = Table(
    "event_counts",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("start_us", BigInteger, primary_key=True, autoincrement=False),
    Column("late", Integer, primary_key=True, autoincrement=False),
    Column("type", Integer, primary_key=True, autoincrement=False),
    Column("severity", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("first_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How many events that are stored happened in a minute, hour or day (`level` 0, 1, 2), and between which places they
are: a bound, which removals do not draw closer. Late ones are counted apart, so that the places of the others are close
together."""

_late = text(LATE.replace("events.", ""))
Index("ix_events_late_position", EVENTS.c.position, sqlite_where=_late, postgresql_where=_late)
