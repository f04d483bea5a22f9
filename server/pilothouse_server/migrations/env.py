"""Runs revisions on the connection that `adapters/sql/migrate.py` gives, inside its transaction. Never run by hand."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection


def run() -> None:
    """Runs what was asked for; the caller commits."""
    connection = context.config.attributes["connection"]
    if not isinstance(connection, Connection):
        raise TypeError("migrations run through pilothouse_server.adapters.sql.migrate")
    context.configure(connection=connection, transactional_ddl=True, render_as_batch=False)
    with context.begin_transaction():
        context.run_migrations()


run()
