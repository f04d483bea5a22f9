"""Events, and workflows, tasks and agents as they show them."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0001_projection"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger()


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _times(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=True) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, BIG, nullable=False) for name in names]


def upgrade() -> None:
    counters = op.create_table(
        "counters", sa.Column("name", TEXT, primary_key=True), *_numbers("value")
    )
    identity = op.create_table(
        "identity", sa.Column("name", TEXT, primary_key=True), *_text("value")
    )
    op.bulk_insert(counters, [{"name": "revision", "value": 0}])
    op.bulk_insert(identity, [{"name": "database_id", "value": uuid.uuid4().hex}])
    op.create_table("cursors", sa.Column("consumer", TEXT, primary_key=True), *_text("cursor"))
    _create_events()
    _create_workflows()
    _create_agents()


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column(
            "position",
            BIG.with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        *_text("id", "cursor"),
        sa.Column("type", sa.Integer(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        *_numbers("occur_us", "receive_us"),
        *_text("source", "workflow_id", "workflow_type", "stage", "task_id"),
        *_text("agent_id", "agent_type", "trace_id", "message"),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
    )
    op.create_index("uq_events_id", "events", ["id"], unique=True)
    op.create_index("ix_events_type_position", "events", ["type", "position"])
    for name in ("workflow_id", "agent_id", "trace_id"):
        stated = sa.text(f"{name} != ''")
        op.create_index(
            f"ix_events_{name}_position",
            "events",
            [name, "position"],
            sqlite_where=stated,
            postgresql_where=stated,
        )


def _create_workflows() -> None:
    op.create_table(
        "workflows",
        sa.Column("id", TEXT, primary_key=True),
        *_text("type", "name", "source"),
        sa.Column("state", sa.Integer(), nullable=False),
        sa.Column("attempt", BIG, nullable=False),
        *_text("stage", "agent_id"),
        *_numbers("create_us"),
        *_times("start_us", "end_us"),
        *_numbers("update_us", "revision"),
        *_text("record"),
    )
    op.create_index("uq_workflows_revision", "workflows", ["revision"], unique=True)
    op.create_index("ix_workflows_create_us_id", "workflows", ["create_us", "id"])
    op.create_index("ix_workflows_state_create_us_id", "workflows", ["state", "create_us", "id"])
    op.create_index("ix_workflows_update_us_id", "workflows", ["update_us", "id"])
    op.create_table(
        "tasks",
        sa.Column("workflow_id", TEXT, primary_key=True),
        sa.Column("task_id", TEXT, primary_key=True),
        *_numbers("first_us"),
        sa.Column("state", sa.Integer(), nullable=False),
        *_text("agent_id"),
        *_times("start_us"),
        *_text("record"),
        sqlite_with_rowid=False,
    )
    running = sa.text("state = 3")
    op.create_index(
        "ix_tasks_running_agent",
        "tasks",
        ["agent_id"],
        sqlite_where=running,
        postgresql_where=running,
    )


def _create_agents() -> None:
    op.create_table(
        "agents",
        sa.Column("id", TEXT, primary_key=True),
        *_text("type", "source"),
        *_numbers("last_seen_us"),
        *(
            sa.Column(name, sa.Boolean(), nullable=False)
            for name in ("gone", "draining", "working", "overdue")
        ),
        *_numbers("revision"),
        *_text("record"),
    )
    op.create_index("uq_agents_revision", "agents", ["revision"], unique=True)
    op.create_index("ix_agents_type_id", "agents", ["type", "id"])
    op.create_index("ix_agents_last_seen_us", "agents", ["last_seen_us"])


def downgrade() -> None:
    for table in ("agents", "tasks", "workflows", "events", "cursors", "identity", "counters"):
        op.drop_table(table)
