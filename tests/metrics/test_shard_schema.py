"""The rows of a reader from before there were shards become those of shard 0, and go back."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from pilothouse_server.adapters.sql import migrate
from pilothouse_server.domain.errors import Unavailable

ROWS = {
    "metric_workflows": "(workflow_id, seq, finished_us, finished_seq, buried, record) "
    "VALUES ('w1', 1, 2, 3, false, '[]')",
    "metric_agents": "(agent_id, record) VALUES ('a1', '[]')",
    "metric_buckets": "(start, dimension, name, cell, gauges) VALUES (7, 1, '', '[1]', '')",
    "metric_minutes": "(dimension, name, start, cell, gauges) VALUES (2, 'build', 7, '[2]', '')",
}


def rows_of(engine: Engine) -> dict[str, list[dict[str, object]]]:
    with engine.begin() as connection:
        return {
            table: [
                dict(row) for row in connection.execute(text(f"SELECT * FROM {table}")).mappings()
            ]
            for table in ROWS
        }


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A database without any schema."""
    if request.param == "sqlite":
        return tmp_path / "state.db"
    url: str = request.getfixturevalue("database_url")
    return url


def test_rows_keep_their_place_up_and_down(target: Path | str) -> None:
    url = f"sqlite:///{target}" if isinstance(target, Path) else target
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    migrate.upgrade(target, "0004_leases")
    with engine.begin() as connection:
        for table, row in ROWS.items():
            connection.execute(text(f"INSERT INTO {table} {row}"))
    before = rows_of(engine)
    migrate.upgrade(target, "0005_shards")
    after = rows_of(engine)
    for table, (found,) in after.items():
        assert found == before[table][0] | {"shard": 0}
    migrate.downgrade(target, "0004_leases")
    assert rows_of(engine) == before
    migrate.upgrade(target, "0005_shards")
    with engine.begin() as connection:
        connection.execute(text("UPDATE metric_agents SET shard = 1"))
    with pytest.raises(Unavailable, match="reshard --shards 1"):
        migrate.downgrade(target, "0004_leases")
    assert rows_of(engine)["metric_agents"][0]["shard"] == 1
    engine.dispose()
