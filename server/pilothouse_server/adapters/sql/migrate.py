"""Takes a database's schema up or down, each time in one transaction: what fails leaves the database as it was.

A database is the path of a SQLite file or the URL of a PostgreSQL one. Run it before the database is opened for work:
it has its own connection. Replicas that start at once do it one after another; the others find nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from pilothouse_server.adapters.sql import postgres_server
from pilothouse_server.adapters.sql.postgres_unit import Source
from pilothouse_server.adapters.sql.sqlite import writing_engine
from pilothouse_server.domain.addresses import shown
from pilothouse_server.domain.errors import Misconfigured, Unavailable

MIGRATION_LOCK: Final = 0x50494C4F55
"""The key of the advisory lock of whoever migrates."""

_SETTINGS: Final = {"lock_timeout": "120s", "idle_in_transaction_session_timeout": "120s"}
"""Another replica's migration may take its time, and so may a large table."""


def upgrade(where: Path | str, revision: str = "head") -> None:
    """Makes the file when there is none. Raises Unavailable when the database cannot be opened, and Misconfigured when
    it is of a newer Pilothouse."""

    def run(config: Config, connection: Connection) -> None:
        current = MigrationContext.configure(connection).get_current_revision()
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if current is not None and current not in known:
            raise Misconfigured(
                "database",
                f"{_named(where)} was written by a newer version ({current}); use that one",
            )
        command.upgrade(config, revision)

    _migrate(where, run)


def move(where: Path | str, revision: str) -> tuple[str, str]:
    """To `revision`, up or down: `head` is the newest, `base` leaves nothing. Returns the revisions before and after,
    "" for none. Raises Unavailable, and Misconfigured for a revision that there is not."""
    before = current(where)
    lineage = revisions()
    if revision not in {*lineage, "head", "base"}:
        told = f"there is no revision {revision}; there are {', '.join(lineage)}, and head and base"
        raise Misconfigured("database", told)
    at = lineage.index(before) if before in lineage else -1
    to = {"head": len(lineage) - 1, "base": -1}.get(revision)
    if to is None:
        to = lineage.index(revision)
    (upgrade if to >= at or (before and at < 0) else downgrade)(where, revision)
    return before, current(where)


def revisions() -> list[str]:
    """All that there are, oldest first."""
    with as_file(files("pilothouse_server") / "migrations") as scripts:
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        walked = ScriptDirectory.from_config(config).walk_revisions()
        return [script.revision for script in walked][::-1]


def current(where: Path | str) -> str:
    """The revision that a database has; "" when it has none. Raises Unavailable."""
    found: list[str] = []

    def run(_: Config, connection: Connection) -> None:
        found.append(MigrationContext.configure(connection).get_current_revision() or "")

    _migrate(where, run)
    return found[0]


def downgrade(where: Path | str, revision: str = "base") -> None:
    """Down to `revision`; all the way leaves nothing."""

    def run(config: Config, connection: Connection) -> None:
        command.downgrade(config, revision)
        if MigrationContext.configure(connection).get_current_revision() is None:
            connection.exec_driver_sql("DROP TABLE IF EXISTS alembic_version")

    _migrate(where, run)


def _migrate(where: Path | str, run: Callable[[Config, Connection], None]) -> None:
    engine = _engine(where)
    try:
        with as_file(files("pilothouse_server") / "migrations") as scripts:
            config = Config()
            config.set_main_option("script_location", str(scripts).replace("%", "%%"))
            with engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(
                        f"BEGIN; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
                    )
                config.attributes["connection"] = connection
                run(config, connection)
    except DBAPIError as error:
        raise Unavailable("database", f"cannot migrate {_named(where)}: {error.orig}") from error
    finally:
        engine.dispose()


def _engine(where: Path | str) -> Engine:
    if isinstance(where, Path):
        return writing_engine(where)
    return Source(postgres_server.judged(where)).pool(_SETTINGS, 1)


def _named(where: Path | str) -> str:
    return str(where) if isinstance(where, Path) else shown(where)
