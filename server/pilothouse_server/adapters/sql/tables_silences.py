"""Silences."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, Table, text

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

SILENCES = Table(
    "silences",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("matchers", JSON, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger),
    Column("cron", TEXT, nullable=False),
    Column("time_zone", TEXT, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("until_resolved", Boolean, nullable=False),
    Column("bound", JSON, nullable=False),
    Column("comment", TEXT, nullable=False),
    Column("created_by", TEXT, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("update_us", BigInteger, nullable=False),
    Column("expire_us", BigInteger),
    Column("expired_by", TEXT, nullable=False),
    Column("expire_reason", TEXT, nullable=False),
    Column("request_id", TEXT, nullable=False),
    Column("asked", TEXT, nullable=False),
    Index("ix_silences_create_us_id", "create_us", "id"),
    Index(
        "ix_silences_open",
        "end_us",
        sqlite_where=text("expire_us IS NULL"),
        postgresql_where=text("expire_us IS NULL"),
    ),
    Index(
        "uq_silences_request_id",
        "request_id",
        unique=True,
        sqlite_where=text("request_id <> ''"),
        postgresql_where=text("request_id <> ''"),
    ),
)
"""`cron` is empty where it does not recur. `bound`: ids of the alerts that matched when one `until_resolved` was made.
`expire_us`: when it was ended, by hand or because its alerts were over. `asked`: what its request was."""
