"""Which trace ids there are, and what OpenTelemetry's spans say of each, as lists need it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

TRACES = Table(
    "traces",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("workflow_id", TEXT, nullable=False),
    Column("service", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("named_by", TEXT, nullable=False),
    Column("state", Integer, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("duration_us", BigInteger),
    Column("open", TEXT, nullable=False),
    Column("ended", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
)
"""`workflow_id`: a workflow that names it; then it is shown as that workflow's only, and the rest of the row means
nothing. `named_by`: what decides which span gives the name, "0" and its beginning for one without another above it,
else "1" and its beginning; the least does. `open`: spans that have begun and not ended, each in a line; `ended` and
`failed` count spans; `last_us` is the latest end, `position` the place of the newest event."""

_alone = TRACES.c.workflow_id == ""
for _columns in (("start_us",), ("duration_us",), ("state", "start_us"), ("service", "start_us")):
    Index(
        f"ix_traces_{'_'.join(_columns)}_id",
        *(TRACES.c[name] for name in (*_columns, "id")),
        sqlite_where=_alone,
        postgresql_where=_alone,
    )
Index("ix_traces_position", TRACES.c.position)
