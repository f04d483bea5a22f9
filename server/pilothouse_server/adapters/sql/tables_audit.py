"""The audit log. Its rows are only ever added; the head is locked until the commit, so that a chain has no forks."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, Table, text

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

AUDIT = Table(
    "audit",
    metadata,
    Column(
        "sequence",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("record_us", BigInteger, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("verb", TEXT, nullable=False),
    Column("target_kind", TEXT, nullable=False),
    Column("target_id", TEXT, nullable=False),
    Column("outcome", Integer, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("request_id", TEXT, nullable=False),
    Column("command_id", TEXT, nullable=False),
    Column("batch_id", TEXT, nullable=False),
    Column("stop_id", TEXT, nullable=False),
    Column("previous_hash", TEXT, nullable=False),
    Column("hash", TEXT, nullable=False),
    Index("ix_audit_target_kind_sequence", "target_kind", "sequence"),
    Index("ix_audit_target_id_sequence", "target_id", "sequence"),
    Index("ix_audit_actor_sequence", "actor", "sequence"),
    Index("ix_audit_verb_sequence", "verb", "sequence"),
    Index("ix_audit_record_us", "record_us"),
    *(
        Index(
            f"ix_audit_{name}_sequence",
            name,
            "sequence",
            sqlite_where=text(f"{name} <> ''"),
            postgresql_where=text(f"{name} <> ''"),
        )
        for name in ("request_id", "command_id", "batch_id", "stop_id")
    ),
)

AUDIT_HEAD = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", TEXT, nullable=False),
)
"""One row: the newest record."""
