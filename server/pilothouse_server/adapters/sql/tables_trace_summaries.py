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
    Column("record", TEXT, nullable=False),
)
"""`revision` is the trace's. `record`: [duration, {stage: time on the critical path}, [time of each kind]], or
[duration, null, null, why there is no more]."""
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
