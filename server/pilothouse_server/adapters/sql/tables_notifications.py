"""What is to be told, to whom, and what became of it.

Only the replica that leads writes these, but for deliveries that people put back or drop. A group and its members are
rows, so that a change of one member of thousands writes one row. Labels and the like are texts of JSON: nobody asks for
a part of one, and texts are written in bulk.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, text

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

_POSITION = BigInteger().with_variant(Integer, "sqlite")
_WAITING = text("state = 1")

NOTIFICATION_INTENTS = Table(
    "notification_intents",
    metadata,
    Column("position", _POSITION, primary_key=True, autoincrement=True),
    Column("alert_id", TEXT, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("occur_us", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""What happened to alerts and was not gathered yet."""

NOTIFICATION_GROUPS = Table(
    "notification_groups",
    metadata,
    Column("channel_id", TEXT, primary_key=True),
    Column("key", TEXT, primary_key=True),
    Column("labels", TEXT, nullable=False),
    Column("due_us", BigInteger),
    Column("flush_us", BigInteger),
    Column("tell_us", BigInteger),
    Column("told", BigInteger, nullable=False),
    Column("overflow", BigInteger, nullable=False),
    Column("flaps", TEXT, nullable=False),
)
"""`key` is a hash of the labels' names and values, which may be long. `told`: how many notifications there were."""

NOTIFICATION_MEMBERS = Table(
    "notification_members",
    metadata,
    Column("channel_id", TEXT, primary_key=True),
    Column("key", TEXT, primary_key=True),
    Column("alert_id", TEXT, primary_key=True),
    Column("labels", TEXT, nullable=False),
    Column("starts_us", BigInteger, nullable=False),
    Column("ends_us", BigInteger),
    Column("acknowledged", Boolean, nullable=False),
    Column("silenced", Boolean, nullable=False),
    Column("flapping", Boolean, nullable=False),
    Column("told", Boolean, nullable=False),
    Column("shown", Boolean, nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("escalated", Boolean, nullable=False),
    Column("escalating", Boolean, nullable=False),
)
"""`told`: as firing, so that its end is owed; `shown`: as firing in the newest notification of the group;
`listed`: as firing by name."""

ESCALATION_RUNS = Table(
    "escalation_runs",
    metadata,
    Column("alert_id", TEXT, primary_key=True),
    Column("escalation_id", TEXT, nullable=False),
    Column("labels", TEXT, nullable=False),
    Column("fire_us", BigInteger, nullable=False),
    Column("step", Integer, nullable=False),
    Column("last_us", BigInteger),
    Column("shift_us", BigInteger, nullable=False),
    Column("hold_us", BigInteger),
    Column("held", Integer, nullable=False),
)
"""Alerts that nobody takes care of yet. `shift_us`: for how long it was held in all."""

DELIVERIES = Table(
    "deliveries",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("channel_id", TEXT, nullable=False),
    Column("channel_name", TEXT, nullable=False),
    Column("group_key", TEXT, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("group_labels", TEXT, nullable=False),
    Column("alert_ids", TEXT, nullable=False),
    Column("firing_count", Integer, nullable=False),
    Column("resolved_count", Integer, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("end_us", BigInteger),
    Column("retry_us", BigInteger),
    Column("since_us", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", TEXT, nullable=False),
    Column("status_code", Integer, nullable=False),
    Column("notification", TEXT),
    Index("ix_deliveries_create_us_id", "create_us", "id"),
    Index("ix_deliveries_end_us", "end_us"),
    Index(
        "ix_deliveries_waiting",
        "channel_id",
        "retry_us",
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    ),
    Index(
        "ix_deliveries_dead",
        "channel_id",
        sqlite_where=text("state = 3"),
        postgresql_where=text("state = 3"),
    ),
    Index(
        "ix_deliveries_beats",
        "channel_id",
        sqlite_where=text("kind = 5"),
        postgresql_where=text("kind = 5"),
    ),
)
"""`notification` is what is sent; none once nobody can want to send it any more. `since_us`: since when it is tried."""

DELIVERY_ALERTS = Table(
    "delivery_alerts",
    metadata,
    Column("alert_id", TEXT, primary_key=True),
    Column("delivery_id", TEXT, primary_key=True),
    Index("ix_delivery_alerts_delivery_id", "delivery_id"),
)
"""Which deliveries told of an alert."""

CHANNEL_HEALTH = Table(
    "channel_health",
    metadata,
    Column("channel_id", TEXT, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("trips", Integer, nullable=False),
    Column("open_until_us", BigInteger),
    Column("error", TEXT, nullable=False),
    Column("success_us", BigInteger),
    Column("beat_us", BigInteger),
)
"""How each channel did. `trips`: how often in a row its breaker opened; none is open without `open_until_us`.
`beat_us`: of which slot the newest heartbeat was that arrived."""
