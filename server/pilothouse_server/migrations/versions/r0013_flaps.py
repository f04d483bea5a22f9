"""How often the instances of alerts changed lately."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0013_flaps"
down_revision = "0012_notifications"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""
    op.create_table(
        "alert_flaps",
        sa.Column("rule_id", TEXT, primary_key=True),
        sa.Column("kind", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("alert_id", TEXT, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.Integer, nullable=False),
        sa.Column("flapping", sa.Boolean, nullable=False),
    )
    op.create_index("ix_alert_flaps_slot", "alert_flaps", ["slot"])


def downgrade() -> None:
    """Down."""
    op.drop_table("alert_flaps")
