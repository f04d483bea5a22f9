"""A real database and a real log for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.adapters.sqlite_log import SqliteLog


@pytest.fixture
def store(database: Database) -> SqlMetricsStore:
    return SqlMetricsStore(database)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db")
    yield log
    await log.close()
