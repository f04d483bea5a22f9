"""Budgets, what was used, when engines were heard, and what of workflows and agents says why one waits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0019_budgets"
down_revision = "0018_config"
branch_labels = None
depends_on = None

LOOKS = sa.text("look_us IS NOT NULL")
WAITS = sa.text("waits_for <> ''")
NEW = (
    ("workflows", "tokens", sa.BigInteger, "0"),
    ("workflows", "cost_micros", sa.BigInteger, "0"),
    ("workflows", "waits_for", TEXT, ""),
    ("agents", "full", sa.Boolean, sa.false()),
)
INPUT, OUTPUT, COST = "$[12][0]", "$[12][1]", "$[12][2]"
"""Where the record of a workflow has its usage."""


def upgrade() -> None:
    """Up."""
    _budgets()
    _kept()
    for table, name, kind, default in NEW:
        op.add_column(table, sa.Column(name, kind, nullable=False, server_default=default))
    op.create_index(
        "ix_workflows_waits_for",
        "workflows",
        ["waits_for"],
        sqlite_where=WAITS,
        postgresql_where=WAITS,
    )
    if op.get_bind().dialect.name == "postgresql":
        at = "LEAST((record::json #>> '{{12,{}}}')::numeric, 4e18)::bigint"
        tokens, cost = f"{at.format(0)} + {at.format(1)}", at.format(2)
    else:
        tokens = f"json_extract(record, '{INPUT}') + json_extract(record, '{OUTPUT}')"
        cost = f"json_extract(record, '{COST}')"
    op.execute(f"UPDATE workflows SET tokens = {tokens}, cost_micros = {cost}")  # noqa: S608 - our own words


def _budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("update_us", sa.BigInteger, nullable=False),
        sa.Column("updated_by", TEXT, nullable=False),
    )
    op.create_index("uq_budgets_name", "budgets", ["name"], unique=True)
    op.create_table(
        "budget_stands",
        sa.Column("budget_id", TEXT, primary_key=True),
        sa.Column("workflow_id", TEXT, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("crossings", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("command_id", TEXT, nullable=False),
        sa.Column("look_us", sa.BigInteger),
    )
    op.create_index(
        "ix_budget_stands_look_us",
        "budget_stands",
        ["look_us"],
        sqlite_where=LOOKS,
        postgresql_where=LOOKS,
    )
    op.create_index("ix_budget_stands_workflow_id", "budget_stands", ["workflow_id"])


def _kept() -> None:
    op.create_table(
        "usage_spans",
        sa.Column("of_all", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("workflow_type", TEXT, primary_key=True),
        sa.Column("seconds", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("start_us", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("cost_micros", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_usage_spans_start_us", "usage_spans", ["start_us"])
    op.create_table(
        "engines_heard",
        sa.Column("source", TEXT, primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("heard_us", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "done_requests",
        sa.Column("request_id", TEXT, primary_key=True),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("done_us", sa.BigInteger, nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
    )
    op.create_index("ix_done_requests_done_us", "done_requests", ["done_us"])


def downgrade() -> None:
    """Down."""
    op.drop_index("ix_workflows_waits_for", "workflows")
    for table, name, _, _ in reversed(NEW):
        op.drop_column(table, name)
    for table in ("done_requests", "engines_heard", "usage_spans", "budget_stands", "budgets"):
        op.drop_table(table)
