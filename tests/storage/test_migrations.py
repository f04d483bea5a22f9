"""The schema's history leads to the schema, both ways, on both databases, and never half."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from pilothouse_server.adapters import sql
from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.metadata import metadata
from pilothouse_server.adapters.sql.postgres_unit import Source
from pilothouse_server.adapters.sql.sqlite import writing_engine
from pilothouse_server.domain.errors import Misconfigured
from tests.databases import Place

for module in iter_modules(sql.__path__):
    if module.name.startswith("tables_"):
        import_module(f"{sql.__name__}.{module.name}")

REVISIONS = [
    script.revision
    for script in reversed(
        list(
            ScriptDirectory(str(Path(migrate.__file__).parents[2] / "migrations")).walk_revisions()
        )
    )
]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> Place:
    """Where nothing is yet."""
    if kind == "sqlite":
        return tmp_path / "state.db"
    url: str = request.getfixturevalue("database_url")
    return url


@contextmanager
def connected(place: Place) -> Generator[Connection]:
    engine = writing_engine(place) if isinstance(place, Path) else Source(place).pool({}, 1)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


_SQLITE = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY name"
_POSTGRES = """
SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT tablename, indexname, indexdef, NULL, NULL, NULL FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT sequencename, NULL, NULL, NULL, NULL, NULL FROM pg_sequences
ORDER BY 1, 2
"""


def schema(place: Place) -> list[tuple[object, ...]]:
    """All that the schema consists of, in the database's words."""
    with connected(place) as connection:
        query = _SQLITE if isinstance(place, Path) else _POSTGRES
        return [tuple(row) for row in connection.execute(text(query))]


def known_to_the_code(name: str | None, kind: str, _parents: object) -> bool:
    """The index of words is each database's own: tables in SQLite, an index over an expression in PostgreSQL."""
    return not (name or "").startswith(("alert_search", "ix_alerts_terms"))


def test_the_migrations_lead_to_the_tables_of_the_code(place: Place) -> None:
    migrate.upgrade(place)
    with connected(place) as connection:
        context = MigrationContext.configure(connection, opts={"include_name": known_to_the_code})
        assert compare_metadata(context, metadata) == []


def test_every_text_is_compared_by_its_bytes(database_url: str) -> None:
    migrate.upgrade(database_url)
    others = [
        row[:2]
        for row in schema(database_url)
        if row[2] == "text" and row[3] != "C" and row[0] != "alembic_version"
    ]
    assert others == []


def test_every_step_down_leads_where_the_step_up_began(place: Place) -> None:
    before: list[list[tuple[object, ...]]] = []
    for revision in REVISIONS:
        migrate.upgrade(place, revision)
        before.append(schema(place))
    for revision, expected in reversed(list(zip(REVISIONS, before, strict=True))):
        migrate.downgrade(place, revision)
        assert schema(place) == expected
    migrate.downgrade(place)
    assert schema(place) == []


def test_a_second_upgrade_changes_nothing(place: Place) -> None:
    migrate.upgrade(place)
    before = schema(place)
    migrate.upgrade(place)
    assert schema(place) == before


def test_rows_survive_the_way_up(place: Place) -> None:
    migrate.upgrade(place, "0001_projection")
    row = "INSERT INTO events VALUES (7, 'e', 'c', 1, 2, 3, 4, '', 'w', '', '', '', '', '', '', '', '')"
    with connected(place) as connection:
        connection.execute(text(row if isinstance(place, Path) else f"{row[:-3]}''::bytea)"))
    migrate.upgrade(place)
    with connected(place) as connection:
        counted = "SELECT value FROM counters WHERE name = 'position'"
        assert connection.execute(text(counted)).scalar() == 7
        assert connection.execute(text("SELECT id FROM events")).scalar() == "e"


def test_alerts_that_are_there_are_found_by_their_words_and_labels(place: Place) -> None:
    migrate.upgrade(place, "0009_rules")
    columns = {
        "id": "'a'", "revision": "7", "rule_id": "'r'", "rule_name": "'Queue depth'", "name": "''",
        "labels": """'{"agent_id": "a7"}'""", "severity": "3", "state": "4", "summary": "'of the fleet'",
        "clears_when": "''", "threshold": "1", "active_us": "5", "down_us": "0", "resolve_us": "9",
        "latched": "false", "acknowledged_by": "''", "acknowledge_comment": "''", "resolved_by": "''",
        "update_us": "5", "steps": "2",
    }  # fmt: skip
    row = f"INSERT INTO alerts ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"
    with connected(place) as connection:
        connection.exec_driver_sql(row)
        connection.exec_driver_sql(
            row.replace("'a',", "'b',").replace("7,", "3,", 1).replace("5,", "4,", 1)
        )
    migrate.upgrade(place)
    search = "SELECT rowid FROM alert_search WHERE alert_search MATCH 'a7 AND que* AND fleet' ORDER BY rowid"
    if not isinstance(place, Path):
        search = (
            "SELECT sequence FROM alerts WHERE array_to_tsvector(string_to_array(terms, ' '))"
            " @@ CAST('a7 & que:* & fleet' AS tsquery) ORDER BY sequence"
        )
    with connected(place) as connection:
        assert connection.exec_driver_sql(search).scalars().all() == [1, 2]
        placed = connection.exec_driver_sql("SELECT id FROM alerts ORDER BY sequence")
        assert placed.scalars().all() == ["b", "a"], "in the order in which they began"
        connection.exec_driver_sql("DELETE FROM alerts WHERE id = 'a'")
        assert connection.exec_driver_sql(search).scalars().all() == [1]


def failing(at: int) -> Callable[..., object]:
    """`create_index`, until the power goes."""
    create, calls = Operations.create_index, 0

    def sometimes(self: Operations, *arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at:
            raise RuntimeError("the power went")
        return create(self, *arguments, **options)  # type: ignore[arg-type] # passed on as they are

    return sometimes


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(place, "0001_projection")
    before = schema(place)
    with monkeypatch.context() as patched:
        patched.setattr(Operations, "create_index", failing(at=3))
        with pytest.raises(RuntimeError, match="the power went"):
            migrate.upgrade(place)
    assert schema(place) == before
    migrate.upgrade(place)


def test_a_database_of_a_newer_version_is_refused(place: Place) -> None:
    migrate.upgrade(place)
    with connected(place) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_future'"))
    with pytest.raises(Misconfigured, match=r"newer version \(9999_future\)"):
        migrate.upgrade(place)


def test_replicas_that_start_at_once_migrate_once(database_url: str) -> None:
    failures: list[Exception] = []

    def start() -> None:
        try:
            migrate.upgrade(database_url)
        except Exception as error:  # noqa: BLE001 - told in the test's own thread
            failures.append(error)

    replicas = [threading.Thread(target=start) for _ in range(3)]
    for each in replicas:
        each.start()
    for each in replicas:
        each.join()
    assert failures == []
    with connected(database_url) as connection:
        assert connection.execute(text("SELECT count(*) FROM identity")).scalar() == 1


def test_two_databases_are_told_apart(tmp_path: Path) -> None:
    ids: set[str] = set()
    for name in ("one.db", "other.db"):
        migrate.upgrade(tmp_path / name)
        with connected(tmp_path / name) as connection:
            ids.update(connection.execute(text("SELECT value FROM identity")).scalars())
    assert len(ids) == 2
