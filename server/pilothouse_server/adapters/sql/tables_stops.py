"""Emergency stops, what each acts on, and the requests that it answers."""

from __future__ import annotations

from typing import Final

from sqlalchemy import JSON, BigInteger, Boolean, Column, Index, Integer, Table, text

from pilothouse_server.adapters.sql.metadata import TEXT, metadata
from pilothouse_server.adapters.sql.tables_control import COMMANDS

_OPEN = text("state IN (1, 2)")
_DUE = text("retry_us IS NOT NULL")
_DISOBEYING = text("state IN (1, 4, 7)")

EMERGENCY_STOPS = Table(
    "emergency_stops",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("stage", Integer, nullable=False),
    Column("workflow_type", TEXT, nullable=False),
    Column("agent_type", TEXT, nullable=False),
    Column("state", Integer, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("stage_us", BigInteger, nullable=False),
    Column("quiet_us", BigInteger),
    Column("told", Boolean, nullable=False),
    Column("released_by", TEXT, nullable=False),
    Column("release_reason", TEXT, nullable=False),
    Column("release_us", BigInteger),
    Column("end_us", BigInteger),
    Column("counts", JSON, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index("uq_emergency_stops_revision", "revision", unique=True),
    Index("ix_emergency_stops_start_us_id", "start_us", "id"),
    Index("ix_emergency_stops_open", "start_us", sqlite_where=_OPEN, postgresql_where=_OPEN),
    Index("ix_emergency_stops_end_us", "end_us"),
)
"""`counts`: [kind, state, how many] of its targets. `told`: whether it was told that the stage is quiet."""

EMERGENCY_TARGETS = Table(
    "emergency_targets",
    metadata,
    Column("stop_id", TEXT, primary_key=True),
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("id", TEXT, primary_key=True),
    Column("state", Integer, nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("update_us", BigInteger, nullable=False),
    Column("command_id", TEXT, nullable=False),
    Column("hold_id", TEXT, nullable=False),
    Column("hold_sequence", BigInteger, nullable=False),
    Column("asks", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("asked_us", BigInteger, nullable=False),
    Column("retry_us", BigInteger),
    Column("error_code", TEXT),
    Column("error_message", TEXT),
    Column("error_retryable", Boolean),
    Index("ix_emergency_targets_id_kind", "id", "kind"),
    Index(
        "ix_emergency_targets_due",
        "stop_id",
        "retry_us",
        sqlite_where=_DUE,
        postgresql_where=_DUE,
    ),
    Index(
        "ix_emergency_targets_disobeying",
        "stop_id",
        "since_us",
        sqlite_where=_DISOBEYING,
        postgresql_where=_DISOBEYING,
    ),
    sqlite_with_rowid=False,
)
"""`hold_id`: the command by which the stop stopped it; `hold_sequence` its place among all commands."""

EMERGENCY_REQUESTS = Table(
    "emergency_requests",
    metadata,
    Column("request_id", TEXT, primary_key=True),
    Column("stop_id", TEXT, nullable=False),
    Column("asked", TEXT, nullable=False),
    Index("ix_emergency_requests_stop_id", "stop_id"),
)
"""Requests that were granted. `asked` is a digest of the request, to tell a repeat from another one of the same id."""

FLEET: Final = "commands.scope = 4"
"""As the partial index says it: commands on whole engines, which are few."""

Index(
    "ix_commands_fleet",
    COMMANDS.c.source,
    COMMANDS.c.target,
    COMMANDS.c.sequence,
    sqlite_where=text("scope = 4"),
    postgresql_where=text("scope = 4"),
)
