"""Commands, the engines that take them, the outbox, and alerts with their rules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0003_control"
down_revision = "0002_metrics"
branch_labels = None
depends_on = None

BIG = sa.BigInteger()


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _times(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=True) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def _small(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.Integer(), nullable=False) for name in names]


def _flags(*names: str) -> list[sa.Column[bool]]:
    return [sa.Column(name, sa.Boolean(), nullable=False) for name in names]


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=False)


def upgrade() -> None:
    _create_commands()
    _create_alert_rules()
    _create_alerts()


def _create_commands() -> None:
    op.create_table(
        "commands",
        sa.Column("id", TEXT, primary_key=True),
        *_numbers("sequence"),
        *_small("action", "state", "boundary"),
        *_numbers("attempt"),
        *_text("workflow_id", "source", "reason", "actor", "request_id"),
        *_numbers("request_us", "expire_us", "since_us"),
        *_times("accept_us", "effect_us", "end_us"),
        sa.Column("error_code", TEXT),
        sa.Column("error_message", TEXT),
        sa.Column("error_retryable", sa.Boolean()),
    )
    op.create_index("uq_commands_sequence", "commands", ["sequence"], unique=True)
    op.create_index("uq_commands_request_id", "commands", ["request_id"], unique=True)
    op.create_index("ix_commands_workflow_id_sequence", "commands", ["workflow_id", "sequence"])
    op.create_index("ix_commands_source_sequence", "commands", ["source", "sequence"])
    op.create_index("ix_commands_state_expire_us", "commands", ["state", "expire_us"])
    pending = sa.text("state IN (1, 2)")
    op.create_index(
        "uq_commands_pending",
        "commands",
        ["workflow_id"],
        unique=True,
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.create_table(
        "executors",
        sa.Column("source", TEXT, primary_key=True),
        _json("capabilities"),
        *_flags("connected"),
        *_numbers("connect_us", "last_seen_us"),
    )
    op.create_table(
        "outbox",
        sa.Column(
            "position",
            BIG.with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        _json("event"),
        sqlite_autoincrement=True,
    )


def _create_alert_rules() -> None:
    op.create_table(
        "alert_rules",
        sa.Column("id", TEXT, primary_key=True),
        *_text("name", "description"),
        *_flags("enabled"),
        *_small("metric", "dimension", "comparison", "no_data_policy", "severity"),
        *_numbers("window_us", "for_us", "keep_firing_us", "min_samples"),
        sa.Column("threshold", sa.Float(), nullable=False),
        _json("labels"),
        *_numbers("create_us", "update_us"),
    )
    op.create_index("uq_alert_rules_name", "alert_rules", ["name"], unique=True)


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", TEXT, primary_key=True),
        *_numbers("revision"),
        *_text("rule_id", "rule_name", "name", "summary", "clears_when"),
        _json("labels"),
        *_small("severity", "state", "steps"),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=False),
        *_numbers("active_us", "down_us", "update_us"),
        *_times("fire_us", "false_us", "resolve_us", "acknowledge_us"),
        *_flags("latched"),
        *_text("acknowledged_by", "acknowledge_comment", "resolved_by"),
    )
    op.create_index("uq_alerts_revision", "alerts", ["revision"], unique=True)
    op.create_index("ix_alerts_state_fire_us", "alerts", ["state", "fire_us"])
    op.create_index("ix_alerts_rule_id_active_us", "alerts", ["rule_id", "active_us"])
    op.create_index("ix_alerts_active_us_id", "alerts", ["active_us", "id"])
    live = sa.text("state <> 4")
    op.create_index(
        "uq_alerts_live",
        "alerts",
        ["rule_id", "name"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_table(
        "alert_transitions",
        sa.Column("alert_id", TEXT, primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        *_numbers("occur_us"),
        *_small("from_state", "to_state"),
        sa.Column("value", sa.Float(), nullable=True),
        *_text("actor", "comment"),
    )
    op.create_table(
        "alert_clock",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        *_numbers("slot_us", "removed_revision"),
    )


def downgrade() -> None:
    for table in (
        "alert_clock", "alert_transitions", "alerts", "alert_rules", "outbox", "executors", "commands",
    ):  # fmt: skip
        op.drop_table(table)
