"""Commands on agents, queues and engines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0014_targets"
down_revision = "0013_flaps"
branch_labels = None
depends_on = None

PENDING = "state IN (1, 2)"
COLUMNS = (
    ("scope", sa.Integer, "1"),
    ("target", TEXT, ""),
    ("agent_id", TEXT, ""),
    ("queue", TEXT, ""),
    ("workflow_type", TEXT, ""),
    ("agent_type", TEXT, ""),
    ("pool_size", sa.Integer, "0"),
    ("batch_id", TEXT, ""),
    ("stop_id", TEXT, ""),
    ("budget_id", TEXT, ""),
)
INDEXED = ("agent_id", "batch_id", "stop_id")


def upgrade() -> None:
    """Up."""
    for name, kind, default in COLUMNS:
        op.add_column("commands", sa.Column(name, kind, nullable=False, server_default=default))
    op.execute("UPDATE commands SET target = workflow_id")
    # What an executor could be asked for is declared anew when it connects.
    op.execute("UPDATE executors SET capabilities = '[]'")
    op.drop_index("uq_commands_pending", "commands")
    op.create_index(
        "uq_commands_pending_scope_target_source",
        "commands",
        ["scope", "target", "source"],
        unique=True,
        sqlite_where=sa.text(PENDING),
        postgresql_where=sa.text(PENDING),
    )
    for name in INDEXED:
        stated = sa.text(f"{name} <> ''")
        op.create_index(
            f"ix_commands_{name}_sequence",
            "commands",
            [name, "sequence"],
            sqlite_where=stated,
            postgresql_where=stated,
        )


def downgrade() -> None:
    """Down."""
    for name in INDEXED:
        op.drop_index(f"ix_commands_{name}_sequence", "commands")
    op.drop_index("uq_commands_pending_scope_target_source", "commands")
    op.execute("DELETE FROM commands WHERE scope <> 1")
    op.execute("UPDATE executors SET capabilities = '[]'")
    for name, _, _ in reversed(COLUMNS):
        op.drop_column("commands", name)
    op.create_index(
        "uq_commands_pending",
        "commands",
        ["workflow_id"],
        unique=True,
        sqlite_where=sa.text(PENDING),
        postgresql_where=sa.text(PENDING),
    )
