"""Who does the work that only one replica may do. A row is never deleted, so that epochs only grow."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

LEASES = Table(
    "leases",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("holder", TEXT, nullable=False),
    Column("acquire_us", BigInteger, nullable=False),
)
"""`epoch` grows with each tenure; `holder` is the replica of the newest one, by its id."""
