"""What live metrics need after a restart, and their history.

Counts and facts are JSON text, made and read by `domain/metrics/checkpoint.py` only; nobody searches in them.
All of it is written by one checkpoint in one transaction, with the cursor of the reader. Each shard of the log has a
reader of its own, and rows of its own: what a series counted is the sum over the shards.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

METRIC_COUNTERS = Table(
    "metric_counters",
    metadata,
    Column("consumer", TEXT, primary_key=True),
    Column("counters", TEXT, nullable=False),
)
"""One row for each reader of the log: what was counted since the log began."""

METRIC_WORKFLOWS = Table(
    "metric_workflows",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("workflow_id", TEXT, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("finished_us", BigInteger, nullable=False),
    Column("finished_seq", BigInteger, nullable=False),
    Column("buried", Boolean, nullable=False),
    Column("record", TEXT, nullable=False),
)
"""Workflows in flight, and those that ended so short a time ago that they are remembered."""

METRIC_AGENTS = Table(
    "metric_agents",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("agent_id", TEXT, primary_key=True),
    Column("record", TEXT, nullable=False),
)
"""Agents heard within 24 h."""

METRIC_BUCKETS = Table(
    "metric_buckets",
    metadata,
    Column("dimension", Integer, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("cell", TEXT, nullable=False),
    Column("gauges", TEXT, nullable=False),
)
"""Buckets of 5 s, numbered since the epoch, for two hours. Gauges are of the whole fleet, and with shard 0."""

METRIC_MINUTES = Table(
    "metric_minutes",
    metadata,
    Column("dimension", Integer, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("cell", TEXT, nullable=False),
    Column("gauges", TEXT, nullable=False),
)
"""Minutes, numbered since the epoch, for 30 days."""

Index("ix_metric_buckets_start", METRIC_BUCKETS.c.shard, METRIC_BUCKETS.c.start)
Index("ix_metric_minutes_start", METRIC_MINUTES.c.shard, METRIC_MINUTES.c.start)
