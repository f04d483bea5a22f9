"""What is remembered of rows that were removed, and when what changed by the server's clock.

The times in rows of workflows are those of their sources, and a source may say anything. Revisions grow as the server
commits, so a mark of the revision at a time tells what has not changed since.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, Table, text

from pilothouse_server.adapters.sql.metadata import metadata
from pilothouse_server.adapters.sql.tables_control import ALERTS, COMMANDS, EXECUTORS
from pilothouse_server.adapters.sql.tables_projection import WORKFLOWS

REVISION_MARKS = Table(
    "revision_marks",
    metadata,
    Column("at_us", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)
"""By that time every revision up to `revision` had been given."""

REMOVALS = Table(
    "removals",
    metadata,
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("greatest", BigInteger, nullable=False),
)
"""One row for each batch of watched rows that was removed: the revision that the removal itself was given, and the
greatest one among the rows: whoever may have been sent one of them starts again."""

ENDED: Final = "workflows.state IN (5, 6, 7)"
"""As the partial index says it: a database sees that one has all the rows only when a query says the same."""

Index(
    "ix_workflows_ended_revision",
    WORKFLOWS.c.revision,
    sqlite_where=text("state IN (5, 6, 7)"),
    postgresql_where=text("state IN (5, 6, 7)"),
)
Index(
    "ix_commands_end_us",
    COMMANDS.c.end_us,
    sqlite_where=COMMANDS.c.end_us.is_not(None),
    postgresql_where=COMMANDS.c.end_us.is_not(None),
)
Index(
    "ix_alerts_resolve_us",
    ALERTS.c.resolve_us,
    sqlite_where=ALERTS.c.resolve_us.is_not(None),
    postgresql_where=ALERTS.c.resolve_us.is_not(None),
)
Index("ix_executors_last_seen_us", EXECUTORS.c.last_seen_us)
