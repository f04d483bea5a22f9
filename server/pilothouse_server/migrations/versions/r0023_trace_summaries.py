"""What the traces of ended workflows were found to be, for many of them together."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0023_trace_summaries"
down_revision = "0022_traces"
branch_labels = None
depends_on = None

MARK = "trace_summaries"


def upgrade() -> None:
    """Up. The mark begins at 0, so that runs which ended before are looked at too."""
    op.create_table(
        "trace_summaries",
        sa.Column("workflow_id", TEXT, primary_key=True),
        sa.Column("type", TEXT, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("end_us", sa.BigInteger, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("stages", TEXT, nullable=False),
        sa.Column("numbers", TEXT, nullable=False),
    )
    op.create_index(
        "ix_trace_summaries_type_end_us_workflow_id",
        "trace_summaries",
        ["type", "end_us", "workflow_id"],
    )
    op.create_table(
        "trace_pieces",
        sa.Column("workflow_id", TEXT, primary_key=True),
        sa.Column("pieces", TEXT, nullable=False),
    )
    op.bulk_insert(_counters(), [{"name": MARK, "value": 0}])


def downgrade() -> None:
    """Down."""
    counters = _counters()
    op.execute(counters.delete().where(counters.c.name == MARK))
    op.drop_table("trace_pieces")
    op.drop_index("ix_trace_summaries_type_end_us_workflow_id", "trace_summaries")
    op.drop_table("trace_summaries")


def _counters() -> sa.TableClause:
    return sa.table("counters", sa.column("name", TEXT), sa.column("value", sa.BigInteger))
