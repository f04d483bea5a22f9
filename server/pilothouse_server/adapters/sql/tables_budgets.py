"""Budgets, what was used, where runs stand against them; when engines were heard; requests that were done.

`usage_spans` has one row for each minute and one for each hour, so that a month is a sum of some hundred rows. Each
shard's projector writes rows of its own, in the transaction of the events.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, Table, text

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

BUDGETS = Table(
    "budgets",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("document", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("update_us", BigInteger, nullable=False),
    Column("updated_by", TEXT, nullable=False),
    Index("uq_budgets_name", "name", unique=True),
)

BUDGET_STANDS = Table(
    "budget_stands",
    metadata,
    Column("budget_id", TEXT, primary_key=True),
    Column("workflow_id", TEXT, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("state", Integer, nullable=False),
    Column("crossings", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("command_id", TEXT, nullable=False),
    Column("look_us", BigInteger),
    Index(
        "ix_budget_stands_look_us",
        "look_us",
        sqlite_where=text("look_us IS NOT NULL"),
        postgresql_where=text("look_us IS NOT NULL"),
    ),
    Index("ix_budget_stands_workflow_id", "workflow_id"),
)
"""What was last told of a run, or of a whole type (then `workflow_id` is empty), under this version of the budget and
in this attempt. `tries`: how often its pause was asked for; `look_us`: when to look what came of that, NULL when it is
settled."""

USAGE_SPANS = Table(
    "usage_spans",
    metadata,
    Column("of_all", Integer, primary_key=True, autoincrement=False),
    Column("workflow_type", TEXT, primary_key=True),
    Column("seconds", Integer, primary_key=True, autoincrement=False),
    Column("start_us", BigInteger, primary_key=True, autoincrement=False),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cost_micros", BigInteger, nullable=False),
    Index("ix_usage_spans_start_us", "start_us"),
    sqlite_with_rowid=False,
)
"""`of_all` 1: of all types together, 0: of one; `seconds`: 60 or 3600. By the server's clock of receipt."""

ENGINES_HEARD = Table(
    "engines_heard",
    metadata,
    Column("source", TEXT, primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("heard_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""When an event of an engine was last received, to the second."""

DONE_REQUESTS = Table(
    "done_requests",
    metadata,
    Column("request_id", TEXT, primary_key=True),
    Column("digest", TEXT, nullable=False),
    Column("done_us", BigInteger, nullable=False),
    Column("answer", JSON, nullable=False),
    Index("ix_done_requests_done_us", "done_us"),
)
"""Requests of acts that have no row of their own to be known by, for a day."""
