"""Who did what, in a chain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0015_audit"
down_revision = "0014_targets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""
    op.create_table(
        "audit",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("record_us", sa.BigInteger, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("verb", TEXT, nullable=False),
        sa.Column("target_kind", TEXT, nullable=False),
        sa.Column("target_id", TEXT, nullable=False),
        sa.Column("outcome", sa.Integer, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("error", sa.JSON(none_as_null=True)),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("command_id", TEXT, nullable=False),
        sa.Column("batch_id", TEXT, nullable=False),
        sa.Column("stop_id", TEXT, nullable=False),
        sa.Column("previous_hash", TEXT, nullable=False),
        sa.Column("hash", TEXT, nullable=False),
    )
    for name in ("target_kind", "target_id", "actor", "verb"):
        op.create_index(f"ix_audit_{name}_sequence", "audit", [name, "sequence"])
    for name in ("request_id", "command_id", "batch_id", "stop_id"):
        stated = sa.text(f"{name} <> ''")
        op.create_index(
            f"ix_audit_{name}_sequence",
            "audit",
            [name, "sequence"],
            sqlite_where=stated,
            postgresql_where=stated,
        )
    op.create_index("ix_audit_record_us", "audit", ["record_us"])
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("hash", TEXT, nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "sequence": 0, "hash": "0" * 64}])


def downgrade() -> None:
    """Down."""
    op.drop_table("audit_head")
    op.drop_table("audit")
