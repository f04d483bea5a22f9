"""What is to be told, in which groups, who is told next, and what became of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0012_notifications"
down_revision = "0011_channels"
branch_labels = None
depends_on = None

TABLES = (
    "channel_health", "delivery_alerts", "deliveries", "escalation_runs", "notification_members",
    "notification_groups", "notification_intents",
)  # fmt: skip


def upgrade() -> None:
    """Up."""
    op.create_table(
        "notification_intents",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        _text("alert_id"),
        _small("kind"),
        _big("occur_us"),
        sqlite_autoincrement=True,
    )
    _groups_up()
    op.create_table(
        "escalation_runs",
        _key("alert_id"),
        _text("escalation_id"),
        _text("labels"),
        _big("fire_us"),
        _small("step"),
        _big("last_us", nullable=True),
        _big("shift_us"),
        _big("hold_us", nullable=True),
        _small("held"),
    )
    _deliveries_up()
    op.create_table(
        "channel_health",
        _key("channel_id"),
        _small("failures"),
        _small("trips"),
        _big("open_until_us", nullable=True),
        _text("error"),
        _big("success_us", nullable=True),
        _big("beat_us", nullable=True),
    )


def downgrade() -> None:
    """Down."""
    for table in TABLES:
        op.drop_table(table)


def _groups_up() -> None:
    op.create_table(
        "notification_groups",
        _key("channel_id"),
        _key("key"),
        _text("labels"),
        *(_big(name, nullable=True) for name in ("due_us", "flush_us", "tell_us")),
        *(_big(name) for name in ("told", "overflow")),
        _text("flaps"),
    )
    flags = (
        "acknowledged",
        "silenced",
        "flapping",
        "told",
        "shown",
        "listed",
        "escalated",
        "escalating",
    )
    op.create_table(
        "notification_members",
        _key("channel_id"),
        _key("key"),
        _key("alert_id"),
        _text("labels"),
        _big("starts_us"),
        _big("ends_us", nullable=True),
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in flags),
    )


def _deliveries_up() -> None:
    op.create_table(
        "deliveries",
        _key("id"),
        *(_text(name) for name in ("channel_id", "channel_name", "group_key")),
        *(_small(name) for name in ("kind", "state")),
        *(_text(name) for name in ("group_labels", "alert_ids")),
        *(_small(name) for name in ("firing_count", "resolved_count")),
        _big("create_us"),
        *(_big(name, nullable=True) for name in ("end_us", "retry_us")),
        _big("since_us"),
        _small("attempts"),
        _text("error"),
        _small("status_code"),
        sa.Column("notification", TEXT, nullable=True),
    )
    op.create_index("ix_deliveries_create_us_id", "deliveries", ["create_us", "id"])
    op.create_index("ix_deliveries_end_us", "deliveries", ["end_us"])
    for name, columns, which in (
        ("ix_deliveries_waiting", ["channel_id", "retry_us"], "state = 1"),
        ("ix_deliveries_dead", ["channel_id"], "state = 3"),
        ("ix_deliveries_beats", ["channel_id"], "kind = 5"),
    ):
        some = sa.text(which)
        op.create_index(name, "deliveries", columns, sqlite_where=some, postgresql_where=some)
    op.create_table("delivery_alerts", _key("alert_id"), _key("delivery_id"))
    op.create_index("ix_delivery_alerts_delivery_id", "delivery_alerts", ["delivery_id"])


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, TEXT, primary_key=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, TEXT, nullable=False)


def _small(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)
