"""The configuration of the platform, with its versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pilothouse_server.adapters.sql.metadata import TEXT

revision = "0018_config"
down_revision = "0017_emergency_stops"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Up."""
    op.create_table(
        "config_versions",
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("overrides", sa.JSON, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("request_digest", TEXT, nullable=False),
    )
    stated = sa.text("request_id <> ''")
    op.create_index(
        "uq_config_versions_request_id",
        "config_versions",
        ["request_id"],
        unique=True,
        sqlite_where=stated,
        postgresql_where=stated,
    )


def downgrade() -> None:
    """Down."""
    op.drop_table("config_versions")
