"""The schema's history leads to the schema, both ways, on both databases, and never half."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
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
from pilothouse_server.adapters.sql import migrate, rule_store
from pilothouse_server.adapters.sql.metadata import metadata
from pilothouse_server.adapters.sql.postgres_unit import Source
from pilothouse_server.adapters.sql.sqlite import writing_engine
from pilothouse_server.domain.alerts.conditions import AllOf, Comparison
from pilothouse_server.domain.alerts.matchers import Matcher, MatchType
from pilothouse_server.domain.alerts.rules import NoDataPolicy, Rule
from pilothouse_server.domain.alerts.shipped import SHIPPED
from pilothouse_server.domain.errors import Misconfigured
from pilothouse_server.domain.metrics.snapshot import Dimension
from tests.databases import Place

for module in iter_modules(sql.__path__):
    if module.name.startswith("tables_"):
        import_module(f"{sql.__name__}.{module.name}")

pytestmark = pytest.mark.timeout(240)  # every step of a long history, some of them many times

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
    """Indexes of words are each database's own: tables in SQLite, an index over an expression in PostgreSQL."""
    own = ("alert_search", "ix_alerts_terms", "event_search", "ix_events_terms")
    return not (name or "").startswith(own)


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


def alert_row(**changed: str) -> str:
    """An alert of the time when it had no evidence."""
    columns = {
        "id": "'a'", "revision": "7", "rule_id": "'r'", "rule_name": "'Queue depth'", "name": "''",
        "labels": """'{"agent_id": "a7"}'""", "severity": "3", "state": "4", "summary": "'of the fleet'",
        "clears_when": "''", "threshold": "1", "active_us": "5", "down_us": "0", "resolve_us": "9",
        "latched": "false", "acknowledged_by": "''", "acknowledge_comment": "''", "resolved_by": "''",
        "update_us": "5", "steps": "2",
    }  # fmt: skip
    columns |= changed
    return f"INSERT INTO alerts ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"


def test_alerts_go_down_without_those_that_an_older_version_does_not_know(place: Place) -> None:
    alerts = (
        "SELECT id, rule_id, name, CAST(labels AS TEXT), state, active_us, resolve_us FROM alerts"
    )
    steps = "SELECT alert_id, position FROM alert_transitions"
    migrate.upgrade(place, "0009_rules")
    with connected(place) as connection:
        connection.exec_driver_sql(alert_row(state="2", resolve_us="NULL"))
        before = connection.exec_driver_sql(alerts).all()
        absent = alert_row(id="'b'", revision="8", kind="2", state="2", resolve_us="NULL")
        connection.exec_driver_sql(absent)
        for of in "ab":
            step = f"INSERT INTO alert_transitions VALUES ('{of}', 0, 5, 0, 2, NULL, '', '', 0)"
            connection.exec_driver_sql(step)
    for _ in range(2):
        migrate.upgrade(place)
        migrate.downgrade(place, "0008_positions")
        with connected(place) as connection:
            assert connection.exec_driver_sql(alerts).all() == before
            assert connection.exec_driver_sql(steps).all() == [("a", 0)]


def test_alerts_that_are_there_are_found_by_their_words_and_labels(place: Place) -> None:
    migrate.upgrade(place, "0009_rules")
    row = alert_row()
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


_RULES_BEFORE = """
SELECT id, name, description, enabled, metric, dimension, comparison, no_data_policy, severity, window_us, for_us,
  keep_firing_us, min_samples, threshold, labels, create_us, update_us FROM alert_rules ORDER BY id
"""


def as_before(rule: Rule) -> dict[str, object]:
    """A rule as a row of the time when it was one comparison."""
    of = rule.first
    return {
        **{name: getattr(rule, name) for name in ("id", "name", "description", "enabled")},
        **{name: int(getattr(of, name)) for name in ("metric", "dimension", "comparison")},
        **{name: int(getattr(rule, name)) for name in ("no_data_policy", "severity")},
        **{name: getattr(of, name) for name in ("window_us", "min_samples", "threshold")},
        **{name: getattr(rule, name) for name in ("for_us", "keep_firing_us")},
        "labels": json.dumps(rule.labels),
        "create_us": 5,
        "update_us": 7,
    }


def odd_rules() -> list[Rule]:
    """What somebody may have made of them."""
    keys = {"team": "Ä 'q'", "a.b": ""}
    slow, silent = SHIPPED[0], SHIPPED[2]
    odd = replace(slow, id="odd", name="Odd", for_us=61_000_001, enabled=False, labels=keys)
    hour = replace(slow.first, dimension=Dimension.STAGE, window_us=3_600_000_000, min_samples=0)
    tiny = replace(silent.first, threshold=1e-300, comparison=Comparison.LESS_OR_EQUAL)
    return [
        odd,
        replace(slow, id="hour", name="Hour", condition=hour, keep_firing_us=0),
        replace(
            silent, id="tiny", name="Tiny", condition=tiny, description="", for_us=604_800_000_000
        ),
    ]


def test_rules_are_the_same_after_the_way_up_and_down_and_up(place: Place) -> None:
    rules = sorted([*SHIPPED, *odd_rules()], key=lambda rule: rule.id)
    migrate.upgrade(place, "0008_positions")
    with connected(place) as connection:
        row = as_before(rules[0])
        query = (
            f"INSERT INTO alert_rules ({', '.join(row)}) VALUES ({', '.join(f':{k}' for k in row)})"
        )
        connection.execute(text(query), [as_before(rule) for rule in rules])
        before = connection.execute(text(_RULES_BEFORE)).all()
    stored = {rule.id: replace(rule, create_us=5, update_us=7) for rule in rules}
    for _ in range(2):
        migrate.upgrade(place)
        with connected(place) as connection:
            assert {rule.id: rule for rule in rule_store.every(connection)} == stored
            book = rule_store.SqlRuleTransaction(connection)
            versions = [book.version(rule_id, 0) for rule_id in stored]
            assert [each and each.rule.condition for each in versions] == [
                rule.condition for rule in stored.values()
            ]
        migrate.downgrade(place, "0008_positions")
        with connected(place) as connection:
            assert connection.execute(text(_RULES_BEFORE)).all() == before


def test_a_rule_that_an_older_version_cannot_say_is_left_out_on_the_way_down(place: Place) -> None:
    migrate.upgrade(place)
    plain = SHIPPED[2]
    some = replace(plain.first, matchers=(Matcher("agent_id", MatchType.REGEX, "a.*"),))
    band = replace(plain.first, recovery_threshold=60.0)
    unsayable = (
        {"condition": AllOf((plain.first, plain.first))},
        {"condition": some},
        {"condition": band},
        {"no_data_policy": NoDataPolicy.RESOLVE},
        {"labels": {"x": "{{ $labels.agent_id }}"}},
    )
    rules = [
        replace(plain, id=f"r{n}", name=f"R{n}", **changes)  # type: ignore[arg-type]
        for n, changes in enumerate(unsayable)
    ]
    with connected(place) as connection:
        rule_store.SqlRuleTransaction(connection).put([plain, *rules], "")
    migrate.downgrade(place, "0008_positions")
    with connected(place) as connection:
        assert connection.execute(text("SELECT id FROM alert_rules")).scalars().all() == [plain.id]


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
