"""The checkpoint of live metrics, and their history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0002_metrics"
down_revision = "0001_projection"
branch_labels = None
depends_on = None


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def upgrade() -> None:
    op.create_table(
        "metric_counters",
        sa.Column("consumer", TEXT, nullable=False),
        *_text("counters"),
        sa.PrimaryKeyConstraint("consumer", name=op.f("pk_metric_counters")),
    )
    op.create_table(
        "metric_workflows",
        sa.Column("workflow_id", TEXT, nullable=False),
        *_numbers("seq", "finished_us", "finished_seq"),
        sa.Column("buried", sa.Boolean(), nullable=False),
        *_text("record"),
        sa.PrimaryKeyConstraint("workflow_id", name=op.f("pk_metric_workflows")),
    )
    op.create_table(
        "metric_agents",
        sa.Column("agent_id", TEXT, nullable=False),
        *_text("record"),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_metric_agents")),
    )
    for table, key in (
        ("metric_buckets", ("start", "dimension", "name")),
        ("metric_minutes", ("dimension", "name", "start")),
    ):
        columns: dict[str, sa.Column[int] | sa.Column[str]] = {
            "start": sa.Column("start", sa.BigInteger(), nullable=False),
            "dimension": sa.Column("dimension", sa.Integer(), nullable=False),
            "name": sa.Column("name", TEXT, nullable=False),
        }
        op.create_table(
            table,
            *(columns[name] for name in key),
            *_text("cell", "gauges"),
            sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{table}")),
        )
    op.create_index("ix_metric_minutes_start", "metric_minutes", ["start"])


def downgrade() -> None:
    op.drop_index("ix_metric_minutes_start", table_name="metric_minutes")
    for table in (
        "metric_minutes",
        "metric_buckets",
        "metric_agents",
        "metric_workflows",
        "metric_counters",
    ):
        op.drop_table(table)
