"""Takes a database's schema up or down, each time in one transaction: what fails leaves the database as it was.

Run it before the database is opened for work: it has its own connection.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from pilothouse_server.adapters.sql.sqlite import writing_engine
from pilothouse_server.domain.errors import Unavailable


def upgrade(path: Path, revision: str = "head") -> None:
    """Makes the file when there is none. Raises Unavailable when it cannot be opened, or is of a newer Pilothouse."""

    def run(config: Config, connection: Connection) -> None:
        current = MigrationContext.configure(connection).get_current_revision()
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if current is not None and current not in known:
            raise Unavailable(
                "database", f"{path} was written by a newer version ({current}); use that one"
            )
        command.upgrade(config, revision)

    _migrate(path, run)


def downgrade(path: Path, revision: str = "base") -> None:
    """Down to `revision`; all the way leaves nothing."""

    def run(config: Config, connection: Connection) -> None:
        command.downgrade(config, revision)
        if MigrationContext.configure(connection).get_current_revision() is None:
            connection.exec_driver_sql("DROP TABLE alembic_version")

    _migrate(path, run)


def _migrate(path: Path, run: Callable[[Config, Connection], None]) -> None:
    engine = writing_engine(path)
    try:
        with as_file(files("pilothouse_server") / "migrations") as scripts:
            config = Config()
            config.set_main_option("script_location", str(scripts).replace("%", "%%"))
            with engine.begin() as connection:
                config.attributes["connection"] = connection
                run(config, connection)
    except DBAPIError as error:
        raise Unavailable("database", f"cannot migrate {path}: {error.orig}") from error
    finally:
        engine.dispose()
