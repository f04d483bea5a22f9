"""The configuration of the platform, one row a version; the newest is what is set."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Table, text

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

CONFIG_VERSIONS = Table(
    "config_versions",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("overrides", JSON, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("request_id", TEXT, nullable=False),
    Column("request_digest", TEXT, nullable=False),
    Index(
        "uq_config_versions_request_id",
        "request_id",
        unique=True,
        sqlite_where=text("request_id <> ''"),
        postgresql_where=text("request_id <> ''"),
    ),
)
"""`overrides`: values by path, durations in microseconds. `request_digest`: what the request asked for."""
