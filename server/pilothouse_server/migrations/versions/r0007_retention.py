"""What retention needs: where what is old is found, what is remembered of what was removed, and when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_retention"
down_revision = "0006_replicas"
branch_labels = None
depends_on = None

BIG = sa.BigInteger()

COUNTERS = ("event_floor", "event_horizon_us", "workflow_horizon_us", "agent_horizon_us", "removal")

INDEXES = (
    ("ix_workflows_ended_revision", "workflows", "revision", "state IN (5, 6, 7)"),
    ("ix_commands_end_us", "commands", "end_us", "end_us IS NOT NULL"),
    ("ix_alerts_resolve_us", "alerts", "resolve_us", "state = 4"),
    ("ix_executors_last_seen_us", "executors", "last_seen_us", None),
)


def upgrade() -> None:
    """Up."""
    op.create_table(
        "revision_marks",
        sa.Column("at_us", BIG, primary_key=True, autoincrement=False),
        sa.Column("revision", BIG, nullable=False),
    )
    op.create_table(
        "removals",
        sa.Column("kind", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("revision", BIG, primary_key=True, autoincrement=False),
        sa.Column("greatest", BIG, nullable=False),
    )
    for name, table, column, where in INDEXES:
        some = None if where is None else sa.text(where)
        op.create_index(name, table, [column], sqlite_where=some, postgresql_where=some)
    op.bulk_insert(_counters(), [{"name": name, "value": 0} for name in COUNTERS])


def downgrade() -> None:
    """Down. Of what was removed nothing is known any more: a repeat of it is news."""
    counters = _counters()
    op.execute(counters.delete().where(counters.c.name.in_(COUNTERS)))
    for name, table, _column, _where in reversed(INDEXES):
        op.drop_index(name, table_name=table)
    op.drop_table("removals")
    op.drop_table("revision_marks")


def _counters() -> sa.TableClause:
    return sa.table("counters", sa.column("name", sa.Text()), sa.column("value", BIG))
