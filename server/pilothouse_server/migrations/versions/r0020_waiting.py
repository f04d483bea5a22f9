"""Queues of engines, when tasks ended, and what says why a workflow waits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0020_waiting"
down_revision = "0019_budgets"
branch_labels = None
depends_on = None

PENDING = sa.text("state IN (1, 2)")
NO_RUN = sa.text("scope <> 1")
WORKED_ON = sa.text("agent_id <> ''")
ENDED = sa.text("end_us IS NOT NULL")


def upgrade() -> None:
    """Up."""
    op.create_table(
        "queues",
        *(
            sa.Column(name, TEXT, nullable=False)
            for name in ("source", "name", "workflow_type", "agent_type")
        ),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.Column("heard_us", sa.BigInteger, nullable=False),
        sa.Column("record", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("source", "name", "workflow_type", "agent_type"),
    )
    op.create_index("ix_queues_heard_us", "queues", ["heard_us"])
    op.create_index(
        "ix_commands_pending_source_sequence",
        "commands",
        ["source", "sequence"],
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )
    op.create_index(
        "ix_commands_target",
        "commands",
        ["scope", "target", "source", "sequence"],
        sqlite_where=NO_RUN,
        postgresql_where=NO_RUN,
    )
    op.create_index(
        "ix_workflows_agent_id",
        "workflows",
        ["agent_id"],
        sqlite_where=WORKED_ON,
        postgresql_where=WORKED_ON,
    )
    op.add_column("tasks", sa.Column("end_us", sa.BigInteger))
    op.create_index(
        "ix_tasks_agent_id_end_us",
        "tasks",
        ["agent_id", "end_us"],
        sqlite_where=ENDED,
        postgresql_where=ENDED,
    )


def downgrade() -> None:
    """Down."""
    op.drop_index("ix_tasks_agent_id_end_us", "tasks")
    op.drop_column("tasks", "end_us")
    op.drop_index("ix_workflows_agent_id", "workflows")
    op.drop_index("ix_commands_target", "commands")
    op.drop_index("ix_commands_pending_source_sequence", "commands")
    op.drop_table("queues")
