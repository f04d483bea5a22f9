"""An audit log with records in it, on a real database of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import text

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import audit_rows
from pilothouse_server.adapters.sql.audit_views import SqlAudit
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.events import EventError
from pilothouse_server.services.audit import Audit, Noted, Progress
from pilothouse_server.services.views import PageRequest

SECOND = 1_000_000
NOON = 1_800_000_000 * SECOND


def entry(number: int = 1, **fields: object) -> Entry:
    """A pause of a workflow."""
    made = Entry(
        record_us=NOON + number * SECOND,
        actor="ada",
        verb="workflow.pause",
        target_kind="workflow",
        target_id=f"w{number}",
        outcome=Outcome.ACCEPTED,
        reason=f"reason {number}",
        before={"state": "RUNNING", "attempt": "1"},
        after={"état": "“paused”"},
        request_id=f"r{number}",
        command_id=f"c{number}",
    )
    return replace(made, **fields)  # type: ignore[arg-type] # the fields of an entry


REFUSED = entry(
    3, outcome=Outcome.REFUSED, error=EventError("COMMAND_PENDING", "wait for it"), command_id=""
)


@dataclass
class Archive:
    """The log, what reads it, and a hand that writes what it should not."""

    database: Database

    def __post_init__(self) -> None:
        self.audit = Audit(SqlAudit(self.database, SystemClock()), SystemClock())

    async def write(self, entries: Sequence[Entry]) -> None:
        await self.database.write(lambda connection: audit_rows.append(connection, entries))

    async def tamper(self, statement: str) -> None:
        """As somebody does who has the database."""
        await self.database.write(lambda connection: connection.execute(text(statement)).close())

    async def record(self, sequence: int) -> Entry:
        """One record."""
        page = await self.audit.page(
            PageRequest(1, filter=f"sequence = {sequence}"), ascending=True
        )
        return page.items[0]

    async def verdict(self, first: int = 0, noted: Noted = Noted()) -> Progress:  # noqa: B008 - it cannot change
        """The end of a proof."""
        found = [each async for each in self.audit.verify(first, noted)]
        assert [each.complete for each in found] == [False] * (len(found) - 1) + [True]
        return found[-1]


@pytest.fixture
async def archive(database: Database) -> Archive:
    """Seven records, one of them a refusal."""
    made = Archive(database)
    await made.write([REFUSED if n == 3 else entry(n) for n in range(1, 8)])
    return made
