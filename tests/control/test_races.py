"""Everybody at once on the same workflows: each command has one request and one end in the audit log, and the chain is
whole."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from sqlalchemy import select

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.audit_views import SqlAudit
from pilothouse_server.adapters.sql.command_store import SqlCommands, settling
from pilothouse_server.adapters.sql.projection_store import SqlProjectionStore
from pilothouse_server.adapters.sql.tables_audit import AUDIT
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.domain.commands import PENDING, Command
from pilothouse_server.domain.errors import PilothouseError
from pilothouse_server.domain.events import Event, EventError, EventType
from pilothouse_server.domain.workflows import Action
from pilothouse_server.ports import LogEntry
from pilothouse_server.services.audit import Audit, Noted
from pilothouse_server.services.control import Control, ControlRequest
from pilothouse_server.services.ids import uuid7
from pilothouse_server.wire.events import decode_stored, encode_events
from tests.control.build import SECOND, event
from tests.control.conftest import Plant
from tests.databases import open_database

T = TypeVar("T")
NAMES = [f"w{number}" for number in range(12)]


async def answer(asked: Awaitable[T]) -> T | PilothouseError:
    """What came of it, refusals too."""
    try:
        return await asked
    except PilothouseError as error:
        return error


def paused(plant: Plant, commands: Sequence[Command]) -> list[Event]:
    now_us, kind = plant.clock.us, EventType.WORKFLOW_PAUSED
    return [
        event(kind, id=f"p-{each.id}", workflow_id=each.workflow_id, command_id=each.id,
              occur_us=now_us, receive_us=now_us)
        for each in commands
    ]  # fmt: skip


async def test_whoever_comes_first_each_command_has_one_request_and_one_end(plant: Plant) -> None:
    # On PostgreSQL as two replicas with a shard each; a file of SQLite has one writer.
    database = open_database(plant.place) if isinstance(plant.place, str) else plant.database
    second = Control(SqlCommands(database), plant.clock, plant.signals, uuid7)
    shard = SqlProjectionStore(database, decode_stored, [settling()], shard=1)
    for name in NAMES:
        await plant.begin(name)

    requests = [
        answer(control.request(ControlRequest(name, Action.PAUSE, actor=actor)))
        for name in NAMES
        for control, actor in ((plant.control, "ana"), (second, "ben"))
    ]
    asked = [each for each in await asyncio.gather(*requests) if isinstance(each, Command)]
    assert [each.workflow_id for each in asked] == NAMES, "of two operators at once one is refused"

    plant.clock.us += SECOND
    payload = encode_events(paused(plant, asked[1::2]))
    await asyncio.gather(
        answer(plant.report(*paused(plant, asked[::2]))),
        answer(shard.apply([LogEntry("1", payload)])),
        *(answer(second.fail(each.id, "e", EventError("NO"))) for each in asked),
        *(answer(plant.control.accept(each.id, "e")) for each in asked),
        *(answer(plant.ask(Action.CANCEL, each.workflow_id)) for each in asked[::3]),
    )
    for _ in range(400):
        plant.clock.us += 10 * SECOND
        if await plant.control.sweep() is None:
            break

    await _hold(plant)
    if database is not plant.database:
        await database.close()


async def _hold(plant: Plant) -> None:
    """Everything has ended, and was recorded once."""
    columns = (AUDIT.c.command_id, AUDIT.c.outcome)
    told = await plant.database.read(
        lambda c: c.execute(select(*columns).where(AUDIT.c.command_id != "")).all()
    )
    stored = await plant.database.read(
        lambda c: c.execute(select(COMMANDS.c.id, COMMANDS.c.state)).all()
    )
    recorded = Counter((row.command_id, "end" if row.outcome > 2 else "request") for row in told)
    assert recorded == Counter((row.id, what) for row in stored for what in ("request", "end"))
    assert not [row for row in stored if row.state in PENDING]
    audit = Audit(SqlAudit(plant.database, SystemClock()), SystemClock())
    *_, verdict = [each async for each in audit.verify(0, Noted())]
    assert not verdict.verdict.problem
