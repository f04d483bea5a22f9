"""Where notifications go, whom to tell next, and what has to be heard from outside."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, Table, text

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

CHANNELS = Table(
    "channels",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("document", JSON, nullable=False),
    Column("sealed", TEXT, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("update_us", BigInteger, nullable=False),
    Column("updated_by", TEXT, nullable=False),
    Column("request_id", TEXT, nullable=False),
    Column("request_digest", TEXT, nullable=False),
    Index("uq_channels_name", "name", unique=True),
    Index(
        "uq_channels_request_id",
        "request_id",
        unique=True,
        sqlite_where=text("request_id <> ''"),
        postgresql_where=text("request_id <> ''"),
    ),
)
"""`document` is what `domain.notifications.documents` makes of one; `sealed` are its secrets, encrypted."""

ESCALATIONS = Table(
    "escalations",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("document", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("update_us", BigInteger, nullable=False),
    Column("updated_by", TEXT, nullable=False),
    Column("request_id", TEXT, nullable=False),
    Column("request_digest", TEXT, nullable=False),
    Index("uq_escalations_name", "name", unique=True),
    Index(
        "uq_escalations_request_id",
        "request_id",
        unique=True,
        sqlite_where=text("request_id <> ''"),
        postgresql_where=text("request_id <> ''"),
    ),
)

HEARTBEATS = Table(
    "heartbeats",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("description", TEXT, nullable=False),
    Column("interval_us", BigInteger, nullable=False),
    Column("grace_us", BigInteger, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("channels", JSON, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("last_us", BigInteger),
    Column("due_us", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
)

HEARTBEAT_CLOCK = Table(
    "heartbeat_clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("followed_us", BigInteger, nullable=False),
)
"""One row, once somebody has followed. `followed_us`: when somebody last looked which heartbeats are late, so that
whoever looks next knows how long nobody could be heard."""
