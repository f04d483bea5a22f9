"""One action on many workflows.

What became of a workflow that has a command is told by the command alone, so nothing has to be kept in step with it;
what was refused at its turn is told by its row.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, Table, text

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

_OPEN = text("state IN (1, 2, 3)")

BATCHES = Table(
    "batches",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("action", Integer, nullable=False),
    Column("filter", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("started_by", TEXT, nullable=False),
    Column("state", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("rate", Float, nullable=False),
    Column("preview", JSON, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("expire_us", BigInteger, nullable=False),
    Column("start_us", BigInteger),
    Column("end_us", BigInteger),
    Column("turn", Integer, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("abandoned", Boolean, nullable=False),
    Column("counts", JSON(none_as_null=True)),
    Index("uq_batches_sequence", "sequence", unique=True),
    Index("ix_batches_open", "sequence", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("ix_batches_end_us", "end_us"),
)
"""`turn`: the position of the workflow whose turn is next. `counts`: what became of its workflows, once it is over."""

BATCH_ITEMS = Table(
    "batch_items",
    metadata,
    Column("batch_id", TEXT, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("workflow_id", TEXT, nullable=False),
    Column("source", TEXT, nullable=False),
    Column("state", Integer, nullable=False),
    Column("command_id", TEXT, nullable=False),
    Column("error_code", TEXT),
    Column("error_message", TEXT),
    Column("error_retryable", Boolean),
    sqlite_with_rowid=False,
)
"""The workflows of a batch in the order of their turns; `source` and `state` are those of when it was made."""

BATCH_REQUESTS = Table(
    "batch_requests",
    metadata,
    Column("request_id", TEXT, primary_key=True),
    Column("batch_id", TEXT, nullable=False),
    Column("asked", TEXT, nullable=False),
    Index("ix_batch_requests_batch_id", "batch_id"),
)
"""What was asked for under a caller's request id, so that a repeat is known as one."""
