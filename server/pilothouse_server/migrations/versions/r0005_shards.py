"""The metrics of each shard of the log: what was there is shard 0's.

SQLite cannot change a primary key, so on both databases the rows step aside while their table is made anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT
from pilothouse_server.domain.errors import Unavailable

revision = "0005_shards"
down_revision = "0004_leases"
branch_labels = None
depends_on = None

_TABLES = ("metric_workflows", "metric_agents", "metric_buckets", "metric_minutes")


def upgrade() -> None:
    """Up: a shard in each key, and the buckets of one series beside each other, as its minutes are."""
    op.drop_index("ix_metric_minutes_start", table_name="metric_minutes")
    for table in _TABLES:
        _step_aside(table)
    _entities(["shard"])
    for table in ("metric_buckets", "metric_minutes"):
        _series(table, ["dimension", "name", "start", "shard"])
        op.create_index(f"ix_{table}_start", table, ["shard", "start"])
    for table in _TABLES:
        _come_back(table, "0")


def downgrade() -> None:
    """Down, while there is one shard."""
    for table in _TABLES:
        found = op.get_bind().execute(sa.text(f"SELECT 1 FROM {table} WHERE shard > 0 LIMIT 1"))  # noqa: S608 - our own names
        if found.scalar():
            told = "metrics of several shards are stored; first run: pilothouse-server reshard --shards 1"
            raise Unavailable("database", told)
    for table in ("metric_buckets", "metric_minutes"):
        op.drop_index(f"ix_{table}_start", table_name=table)
    for table in _TABLES:
        _step_aside(table)
    _entities([])
    _series("metric_buckets", ["start", "dimension", "name"])
    _series("metric_minutes", ["dimension", "name", "start"])
    op.create_index("ix_metric_minutes_start", "metric_minutes", ["start"])
    for table in _TABLES:
        _come_back(table, "")


def _step_aside(table: str) -> None:
    op.execute(f"CREATE TABLE {table}_before AS SELECT * FROM {table}")  # noqa: S608 - our own names
    op.drop_table(table)


def _come_back(table: str, shard: str) -> None:
    """The rows, with this shard where there is one."""
    columns = [
        column["name"] for column in sa.inspect(op.get_bind()).get_columns(f"{table}_before")
    ]
    names = [f'"{name}"' for name in columns if name != "shard"]
    into, values = (["shard", *names], [shard, *names]) if shard else (names, names)
    op.execute(
        f"INSERT INTO {table} ({', '.join(into)}) SELECT {', '.join(values)} FROM {table}_before"  # noqa: S608 - our own names
    )
    op.drop_table(f"{table}_before")


def _entities(key: list[str]) -> None:
    op.create_table(
        "metric_workflows",
        *(sa.Column(name, sa.Integer(), nullable=False) for name in key),
        sa.Column("workflow_id", TEXT, nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("seq", "finished_us", "finished_seq")
        ),
        sa.Column("buried", sa.Boolean(), nullable=False),
        sa.Column("record", TEXT, nullable=False),
        sa.PrimaryKeyConstraint(*key, "workflow_id", name=op.f("pk_metric_workflows")),
    )
    op.create_table(
        "metric_agents",
        *(sa.Column(name, sa.Integer(), nullable=False) for name in key),
        sa.Column("agent_id", TEXT, nullable=False),
        sa.Column("record", TEXT, nullable=False),
        sa.PrimaryKeyConstraint(*key, "agent_id", name=op.f("pk_metric_agents")),
    )


def _series(table: str, key: list[str]) -> None:
    kinds: dict[str, sa.Text | sa.Integer] = {"name": TEXT, "start": sa.BigInteger()}
    op.create_table(
        table,
        *(sa.Column(name, kinds.get(name, sa.Integer()), nullable=False) for name in key),
        sa.Column("cell", TEXT, nullable=False),
        sa.Column("gauges", TEXT, nullable=False),
        sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{table}")),
    )
