"""The one schema: the tables of every area (`tables_<area>.py`) belong to it, and the migrations must lead to it."""

from __future__ import annotations

from sqlalchemy import MetaData, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Constraints have names of one pattern, so that migrations can name them on every database."""

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Every text of every table. Compared byte by byte, whatever the database's collation: so orders, pages and comparisons
are those of SQLite, and of UTF-8."""
