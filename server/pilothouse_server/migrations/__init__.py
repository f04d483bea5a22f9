"""The database's history, one Alembic revision for each step, shipped in the wheel."""
