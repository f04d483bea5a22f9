"""What is asked of the audit log and of the configuration is found by an index, on either database."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from pilothouse_server.adapters.sql.audit_views import SqlAudit
from pilothouse_server.adapters.sql.config_store import SqlConfig
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.tables_audit import AUDIT, AUDIT_HEAD
from pilothouse_server.adapters.sql.tables_config import CONFIG_VERSIONS
from pilothouse_server.domain.audit import Link
from pilothouse_server.domain.platform import ConfigVersion
from pilothouse_server.services.views import PageRequest
from tests.databases import Place
from tests.projection.build import NOON, SECOND
from tests.services.conftest import SetClock
from tests.storage.explained import ExplainedDatabase

ROWS = 8_000
CLOCK = SetClock()
SMALL = {"audit_head", "config_versions"}
"""One row, and a thousand at most."""


def audit() -> Iterable[dict[str, Any]]:
    for n in range(ROWS):
        of_batch, kind = (
            n % 50 == 0,
            ("workflow", "agent", "config")[0 if n % 40 else 1 + n // 40 % 2],
        )
        yield {
            "sequence": n + 1, "record_us": NOON + n * SECOND, "actor": f"person{n % 20}",
            "verb": f"{kind}.{('pause', 'resume')[n % 2]}", "target_kind": kind, "target_id": f"w{n % 900}",
            "outcome": 2 if n % 90 == 0 else 1, "reason": "r", "before": {}, "after": {}, "error": None,
            "request_id": f"r{n}", "command_id": f"c{n}", "batch_id": f"b{n // 500}" if of_batch else "",
            "stop_id": f"s{n // 900}" if of_batch else "", "previous_hash": f"h{n}", "hash": f"h{n + 1}",
        }  # fmt: skip


def config_version(number: int) -> dict[str, Any]:
    return {
        "version": number, "overrides": {}, "actor": "", "reason": "", "create_us": NOON + number,
        "request_id": f"request-{number}" if number % 9 else "", "request_digest": "",
    }  # fmt: skip


def fill(connection: Connection) -> None:
    connection.execute(insert(AUDIT), list(audit()))
    connection.execute(AUDIT_HEAD.update().values(sequence=ROWS, hash=f"h{ROWS}"))
    connection.execute(insert(CONFIG_VERSIONS), [config_version(n) for n in range(1, 500)])


AUDIT_FILTERS = [
    "", "sequence = 100", "sequence > 7900", "target_kind = workflow AND target_id = w7", "target_id = w7",
    "target_kind = config", "actor = person7", "verb = agent.pause", "request_id = r7", "command_id = c7",
    "batch_id = b3", "emergency_stop_id = s3", "record_time > -1h", "record_time < 2000-01-01T00:00:00Z",
    "outcome = REFUSED", "actor = person7 AND outcome = REFUSED",
]  # fmt: skip


async def ask_audit(database: Database) -> None:
    store = SqlAudit(database, CLOCK)
    for ascending in (False, True):
        for filter_text in AUDIT_FILTERS:
            first = await store.page(PageRequest(10, filter=filter_text), ascending=ascending)
            if first.next_token:
                asked = PageRequest(10, first.next_token, filter_text)
                await store.page(asked, ascending=ascending)
    await store.ends()
    await store.look(Link(4000, "h4000"), ROWS, 500)


async def ask_config(database: Database) -> None:
    store = SqlConfig(database)
    first = await store.page(50, "")
    await store.page(50, first.next_token)
    await store.read(lambda t: (t.newest(), t.version(7), t.requested("request-7")))
    await store.write(lambda t: t.add(ConfigVersion(2000, {}, create_us=NOON), "", ""))


@pytest.mark.parametrize("ask", [ask_audit, ask_config])
async def test_an_answer_is_found_by_an_index(database: Database, place: Place, ask: Any) -> None:
    await database.write(fill)
    if not isinstance(place, Path):
        # PostgreSQL does so by itself; SQLite never does.
        await database.write(lambda connection: connection.execute(text("ANALYZE")).close())
    explained = ExplainedDatabase(database)
    await ask(explained)
    assert explained.statements
    assert [each for each in explained.scanned if each[0] not in SMALL] == []
