"""What is kept of the traces of runs that have ended: one row a run, narrow, so that ten thousand are read at once; and
their pieces beside it, of which a few hundred runs' are read."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

TRACE_SUMMARIES = Table(
    "trace_summaries",
    metadata,
    Column("workflow_id", TEXT, primary_key=True),
    Column("type", TEXT, nullable=False),
    Column("state", Integer, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("end_us", BigInteger, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("stages", TEXT, nullable=False),
    Column("numbers", TEXT, nullable=False),
)
"""`revision` is the trace's. `numbers`, with commas between them: the duration; unless `reason` tells why there is no
more, the time of each kind; then for each name in `stages` the time on the critical path. So runs through the same
stages are read together, as one row, of which columns are made."""
Index(
    "ix_trace_summaries_type_end_us_workflow_id",
    TRACE_SUMMARIES.c.type,
    TRACE_SUMMARIES.c.end_us,
    TRACE_SUMMARIES.c.workflow_id,
)

TRACE_PIECES = Table(
    "trace_pieces",
    metadata,
    Column("workflow_id", TEXT, primary_key=True),
    Column("pieces", TEXT, nullable=False),
)
"""`pieces`: [stage, task, which, attempt, start, duration, time on the critical path] of each."""
