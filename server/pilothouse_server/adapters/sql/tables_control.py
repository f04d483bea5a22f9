"""Commands, the engines that take them, events on their way to the log, and alerts.

Two rules of the domain are kept by the database as well: one pending command a target, one live alert an instance.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    Table,
    false,
    text,
)

from pilothouse_server.adapters.sql.metadata import TEXT, metadata

COMMANDS = Table(
    "commands",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("action", Integer, nullable=False),
    Column("workflow_id", TEXT, nullable=False),
    Column("source", TEXT, nullable=False),
    Column("state", Integer, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("boundary", Integer, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("request_id", TEXT, nullable=False),
    Column("request_us", BigInteger, nullable=False),
    Column("expire_us", BigInteger, nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("accept_us", BigInteger),
    Column("effect_us", BigInteger),
    Column("end_us", BigInteger),
    Column("error_code", TEXT),
    Column("error_message", TEXT),
    Column("error_retryable", Boolean),
    Column("scope", Integer, nullable=False, server_default="1"),
    Column("target", TEXT, nullable=False, server_default=""),
    Column("agent_id", TEXT, nullable=False, server_default=""),
    Column("queue", TEXT, nullable=False, server_default=""),
    Column("workflow_type", TEXT, nullable=False, server_default=""),
    Column("agent_type", TEXT, nullable=False, server_default=""),
    Column("pool_size", Integer, nullable=False, server_default="0"),
    Column("batch_id", TEXT, nullable=False, server_default=""),
    Column("stop_id", TEXT, nullable=False, server_default=""),
    Column("budget_id", TEXT, nullable=False, server_default=""),
    Index("uq_commands_sequence", "sequence", unique=True),
    Index("uq_commands_request_id", "request_id", unique=True),
    Index("ix_commands_workflow_id_sequence", "workflow_id", "sequence"),
    Index("ix_commands_source_sequence", "source", "sequence"),
    Index("ix_commands_state_expire_us", "state", "expire_us"),
    Index(
        "uq_commands_pending_scope_target_source",
        "scope",
        "target",
        "source",
        unique=True,
        sqlite_where=text("state IN (1, 2)"),
        postgresql_where=text("state IN (1, 2)"),
    ),
    Index(
        "ix_commands_pending_source_sequence",
        "source",
        "sequence",
        sqlite_where=text("state IN (1, 2)"),
        postgresql_where=text("state IN (1, 2)"),
    ),
    Index(
        "ix_commands_target",
        "scope",
        "target",
        "source",
        "sequence",
        sqlite_where=text("scope <> 1"),
        postgresql_where=text("scope <> 1"),
    ),
    *(
        Index(
            f"ix_commands_{name}_sequence",
            name,
            "sequence",
            sqlite_where=text(f"{name} <> ''"),
            postgresql_where=text(f"{name} <> ''"),
        )
        for name in ("agent_id", "batch_id", "stop_id")
    ),
    Index(
        "ix_commands_batch_id_state",
        "batch_id",
        "state",
        sqlite_where=text("batch_id <> ''"),
        postgresql_where=text("batch_id <> ''"),
    ),
    Index(
        "ix_commands_pending_source",
        "source",
        sqlite_where=text("state IN (1, 2)"),
        postgresql_where=text("state IN (1, 2)"),
    ),
)
"""`target` is `Command.target`."""

EXECUTORS = Table(
    "executors",
    metadata,
    Column("source", TEXT, primary_key=True),
    Column("capabilities", JSON, nullable=False),
    Column("connected", Boolean, nullable=False),
    Column("connect_us", BigInteger, nullable=False),
    Column("last_seen_us", BigInteger, nullable=False),
    Column("replica", TEXT, nullable=False, server_default=""),
    Column("stream", TEXT, nullable=False, server_default=""),
)
"""`stream` is the id of the newest stream that the engine opened, on the replica of that id: any other stream of it is
over."""

COMMAND_CLOCK = Table(
    "command_clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("swept_us", BigInteger, nullable=False),
)
"""One row. `swept_us`: when somebody last looked for commands whose time is over."""

OUTBOX = Table(
    "outbox",
    metadata,
    Column(
        "position",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    Column("event", JSON, nullable=False),
    sqlite_autoincrement=True,
)

ALERT_RULES = Table(
    "alert_rules",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("document", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("update_us", BigInteger, nullable=False),
    Column("updated_by", TEXT, nullable=False),
    Index("uq_alert_rules_name", "name", unique=True),
)
"""The rules that there are; `document` is what `domain.alerts.documents` makes of one."""

ALERT_RULE_VERSIONS = Table(
    "alert_rule_versions",
    metadata,
    Column("rule_id", TEXT, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("document", JSON, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("reason", TEXT, nullable=False),
    Column("request_id", TEXT, nullable=False),
    Index(
        "uq_alert_rule_versions_request_id",
        "request_id",
        unique=True,
        sqlite_where=text("request_id <> ''"),
        postgresql_where=text("request_id <> ''"),
    ),
    Index(
        "ix_alert_rule_versions_deleted",
        "rule_id",
        sqlite_where=text("deleted"),
        postgresql_where=text("deleted"),
    ),
)
"""Every version of every rule, of deleted ones too."""

RARE_ALERTS = {
    "acknowledged": ("acknowledge_us", "acknowledge_us IS NOT NULL"),
    "assigned": ("assignee", "assignee <> ''"),
    "no_data": ("active_us", "kind = 2"),
    "silenced": ("active_us", "CAST(silenced_by AS TEXT) <> '[]'"),
    "inhibited": ("active_us", "CAST(inhibited_by AS TEXT) <> '[]'"),
    "flapping": ("active_us", "flapping"),
}
"""What hardly any alert is, and lists are often asked for: the column of the index, and which rows it has."""

ALERTS = Table(
    "alerts",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("sequence", BigInteger, nullable=False, server_default="0"),
    Column("revision", BigInteger, nullable=False),
    Column("rule_id", TEXT, nullable=False),
    Column("rule_name", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("summary", TEXT, nullable=False),
    Column("clears_when", TEXT, nullable=False),
    Column("value", Float),
    Column("threshold", Float, nullable=False),
    Column("active_us", BigInteger, nullable=False),
    Column("fire_us", BigInteger),
    Column("false_us", BigInteger),
    Column("down_us", BigInteger, nullable=False),
    Column("resolve_us", BigInteger),
    Column("latched", Boolean, nullable=False),
    Column("acknowledge_us", BigInteger),
    Column("acknowledged_by", TEXT, nullable=False),
    Column("acknowledge_comment", TEXT, nullable=False),
    Column("resolved_by", TEXT, nullable=False),
    Column("update_us", BigInteger, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("kind", Integer, nullable=False, server_default="1"),
    Column("fingerprint", TEXT, nullable=False, server_default=""),
    Column("rule_version", BigInteger, nullable=False, server_default="1"),
    Column("annotations", JSON, nullable=False, server_default="{}"),
    Column("evidence", JSON, nullable=False, server_default="[]"),
    Column("acknowledge_expire_us", BigInteger),
    Column("assignee", TEXT, nullable=False, server_default=""),
    Column("silenced_by", JSON, nullable=False, server_default="[]"),
    Column("inhibited_by", JSON, nullable=False, server_default="[]"),
    Column("flapping", Boolean, nullable=False, server_default=false()),
    Column("terms", TEXT, nullable=False, server_default=""),
    Index("uq_alerts_revision", "revision", unique=True),
    Index("uq_alerts_sequence", "sequence", unique=True),
    Index("ix_alerts_severity", "severity"),
    Index("ix_alerts_fire_us", "fire_us"),
    *(
        Index(f"ix_alerts_{name}", column, sqlite_where=text(where), postgresql_where=text(where))
        for name, (column, where) in RARE_ALERTS.items()
    ),
    Index("ix_alerts_state_fire_us", "state", "fire_us"),
    Index("ix_alerts_rule_id_active_us", "rule_id", "active_us"),
    Index("ix_alerts_active_us_id", "active_us", "id"),
    Index(
        "ix_alerts_latched",
        "active_us",
        sqlite_where=text("latched"),
        postgresql_where=text("latched"),
    ),
    Index(
        "uq_alerts_live",
        "rule_id",
        "kind",
        "name",
        unique=True,
        sqlite_where=text("state <> 4"),
        postgresql_where=text("state <> 4"),
    ),
)
"""`sequence`: its first revision, which stays: the number of its row in the index of words, `alert_search`, which
triggers keep in SQLite; PostgreSQL has an index over the words themselves. `terms`: see `domain.alerts.search`."""

ALERT_TRANSITIONS = Table(
    "alert_transitions",
    metadata,
    Column("alert_id", TEXT, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("occur_us", BigInteger, nullable=False),
    Column("from_state", Integer, nullable=False),
    Column("to_state", Integer, nullable=False),
    Column("value", Float),
    Column("actor", TEXT, nullable=False),
    Column("comment", TEXT, nullable=False),
    Column("act", Integer, nullable=False, server_default="0"),
    Column("request_id", TEXT, nullable=False, server_default=""),
    Index(
        "uq_alert_transitions_request_id",
        "request_id",
        unique=True,
        sqlite_where=text("request_id <> ''"),
        postgresql_where=text("request_id <> ''"),
    ),
)

ALERT_OUTBOX = Table(
    "alert_outbox",
    metadata,
    Column(
        "position",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    ),
    Column("alert_id", TEXT, nullable=False),
    Column("step", Integer, nullable=False),
    sqlite_autoincrement=True,
)
"""Steps in the lives of alerts that are not in the Redis yet, in order; none without one."""

ALERT_CLOCK = Table(
    "alert_clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("slot_us", BigInteger, nullable=False),
    Column("removed_revision", BigInteger, nullable=False),
    Column("batch", TEXT, nullable=False, server_default=""),
    Column("meters", JSON(none_as_null=True)),
    Column("meters_us", BigInteger, nullable=False, server_default="0"),
)
"""One row. `slot_us`: the newest slot that was evaluated and stored, so that a restart knows how long nobody looked.
`removed_revision`: the greatest revision of an alert that was removed: whoever watched from before it starts again.
`batch`: the newest batch of the engine that was stored, so that one whose answer was lost is not stored twice.
`meters`: what became of each rule's evaluations, as the replica that leads wrote it down at `meters_us`."""

ALERT_REQUESTS = Table(
    "alert_requests",
    metadata,
    Column("id", TEXT, primary_key=True),
    Column("state", Integer, nullable=False),
    Column("verb", Integer, nullable=False),
    Column("alert_id", TEXT, nullable=False),
    Column("actor", TEXT, nullable=False),
    Column("comment", TEXT, nullable=False),
    Column("etag", TEXT, nullable=False),
    Column("request_us", BigInteger, nullable=False),
    Column("refusal", JSON(none_as_null=True)),
    Column("request_id", TEXT, nullable=False, server_default=""),
    Column("assignee", TEXT, nullable=False, server_default=""),
    Column("expire_after_us", BigInteger),
    Index("ix_alert_requests_request_us", "request_us"),
    Index(
        "ix_alert_requests_open",
        "request_us",
        sqlite_where=text("state IN (1, 2)"),
        postgresql_where=text("state IN (1, 2)"),
    ),
)
"""What people asked of alerts on replicas that do not lead, and what the one that leads answered."""
ALERT_FLAPS = Table(
    "alert_flaps",
    metadata,
    Column("rule_id", TEXT, primary_key=True),
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("name", TEXT, primary_key=True),
    Column("alert_id", TEXT, nullable=False),
    Column("slot", BigInteger, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("flapping", Boolean, nullable=False),
    Index("ix_alert_flaps_slot", "slot"),
)
