"""The schema's history leads to the schema, both ways, and never half."""

from __future__ import annotations

import sqlite3
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

from pilothouse_server.adapters import sql
from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.metadata import metadata
from pilothouse_server.adapters.sql.sqlite import writing_engine
from pilothouse_server.domain.errors import Unavailable

for module in iter_modules(sql.__path__):
    if module.name.startswith("tables_"):
        import_module(f"{sql.__name__}.{module.name}")


def schema(path: Path) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(path)
    query = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY name"
    found = connection.execute(query).fetchall()
    connection.close()
    return found


def test_the_migrations_lead_to_the_tables_of_the_code(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    migrate.upgrade(path)
    engine = writing_engine(path)
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_every_step_down_leads_where_the_step_up_began(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    seen = [
        schema_at(path, revision)
        for revision in ("0001_projection", "0002_metrics", "0003_control")
    ]
    for revision, expected in (("0002_metrics", seen[1]), ("0001_projection", seen[0])):
        migrate.downgrade(path, revision)
        assert schema(path) == expected
    migrate.downgrade(path)
    assert schema(path) == []


def schema_at(path: Path, revision: str) -> list[tuple[str, ...]]:
    migrate.upgrade(path, revision)
    return schema(path)


def test_a_second_upgrade_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    migrate.upgrade(path)
    before = path.read_bytes()
    migrate.upgrade(path)
    assert path.read_bytes() == before


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    migrate.upgrade(path, "0001_projection")
    before = schema(path)
    create, calls = Operations.create_index, 0

    def sometimes(self: Operations, *arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("the power went")
        return create(self, *arguments, **options)  # type: ignore[arg-type] # passed on as they are

    monkeypatch.setattr(Operations, "create_index", sometimes)
    with pytest.raises(RuntimeError, match="the power went"):
        migrate.upgrade(path)
    assert schema(path) == before


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    migrate.upgrade(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999_future'")
    connection.commit()
    connection.close()
    with pytest.raises(Unavailable, match="newer version"):
        migrate.upgrade(path)


def test_two_databases_are_told_apart(tmp_path: Path) -> None:
    ids: set[str] = set()
    for name in ("one.db", "other.db"):
        migrate.upgrade(tmp_path / name)
        connection = sqlite3.connect(tmp_path / name)
        ids.update(row[0] for row in connection.execute("SELECT value FROM identity"))
        connection.close()
    assert len(ids) == 2
