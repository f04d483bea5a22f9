"""Leases: who does the work that only one replica may do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0004_leases"
down_revision = "0003_control"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""
    op.create_table(
        "leases",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("acquire_us", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Down."""
    op.drop_table("leases")
