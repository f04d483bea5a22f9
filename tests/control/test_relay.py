"""From the outbox to a real log: once is enough, twice does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from pilothouse_server.adapters.intake import SingleIntake
from pilothouse_server.adapters.sql.outbox_store import SqlOutbox
from pilothouse_server.adapters.sqlite_log import SqliteLog
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.events import Event, EventError, EventType
from pilothouse_server.domain.workflows import Action
from pilothouse_server.ports import LogEntry
from pilothouse_server.services.relay import Relay
from pilothouse_server.wire.events import decode_events, encode_events
from tests.control.conftest import Plant
from tests.support import wait_until


class TroubledLog(SqliteLog):
    """A real log that can be told to refuse before it takes an entry, or to be killed after."""

    refuse = 0
    die = 0

    async def append(self, payload: bytes) -> str:
        if self.refuse:
            self.refuse -= 1
            raise Unavailable("log", "its disk is full")
        cursor = await super().append(payload)
        if self.die:
            self.die -= 1
            raise Unavailable("log", "nobody heard the answer")
        return cursor


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[TroubledLog]:
    log = TroubledLog(tmp_path / "log.db")
    yield log
    await log.close()


def relay_of(plant: Plant, log: SqliteLog) -> Relay:
    return Relay(
        SqlOutbox(plant.database),
        SingleIntake(log),
        encode_events,
        plant.clock,
        plant.signals.outbox,
    )


async def events_in(log: SqliteLog) -> Sequence[Event]:
    entries: Sequence[LogEntry] = await log.read("", limit=1000)
    return [event for entry in entries for event in decode_events(entry.payload)]


async def test_what_happens_to_a_command_is_in_the_log_in_order(
    plant: Plant, log: TroubledLog
) -> None:
    command = await plant.ask(Action.PAUSE, reason="so", actor="ada")
    await plant.control.accept(command.id, "e")
    await plant.control.fail(command.id, "e", EventError("BUSY", "later", retryable=True))
    relay = relay_of(plant, log)
    assert await relay.publish_some() == 3
    assert await relay.publish_some() == 0
    assert await plant.said() == []
    requested, accepted, failed = await events_in(log)
    assert requested.type == EventType.COMMAND_REQUESTED
    assert requested.attributes["actor"] == "ada"
    assert requested.attributes["reason"] == "so"
    assert (accepted.id, accepted.command_id) == (f"{command.id}:accepted", command.id)
    assert failed.error == EventError("BUSY", "later", retryable=True)
    assert {event.workflow_id for event in (requested, accepted, failed)} == {"w"}


async def test_a_kill_between_log_and_outbox_repeats_the_same_ids(
    plant: Plant, log: TroubledLog
) -> None:
    await plant.ask(Action.PAUSE)
    log.die = 1
    relay = relay_of(plant, log)
    with pytest.raises(Unavailable):
        await relay.publish_some()
    await relay.publish_some()
    first, second = await events_in(log)
    assert first.id == second.id


class StuckOutbox(SqlOutbox):
    """A real outbox from which nothing can be removed for a while, as from a database whose disk is full."""

    stuck = True

    async def remove(self, positions: Sequence[int]) -> None:
        if self.stuck:
            raise Unavailable("database", "its disk is full")
        await super().remove(positions)


async def test_what_cannot_be_removed_from_the_outbox_is_published_once(
    plant: Plant, log: TroubledLog
) -> None:
    await plant.ask(Action.PAUSE)
    outbox = StuckOutbox(plant.database)
    relay = Relay(outbox, SingleIntake(log), encode_events, plant.clock, plant.signals.outbox)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await relay.publish_some()
    outbox.stuck = False
    await relay.publish_some()
    assert len(await events_in(log)) == 1
    assert await plant.said() == []
    assert relay.published == 1


async def test_a_log_that_refuses_for_a_while_loses_nothing(plant: Plant, log: TroubledLog) -> None:
    log.refuse = 2
    relay = relay_of(plant, log)
    running = asyncio.create_task(relay.run())
    await plant.ask(Action.PAUSE)

    async def published() -> bool:
        return len(await events_in(log)) == 1

    await wait_until(published, what="the event to be published")
    await wait_until(lambda: relay.waiting_for == "", what="the relay to know")
    assert (relay.published, relay.failures) == (1, 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_published_events_of_a_command_change_nothing_when_they_come_back(
    plant: Plant, log: TroubledLog
) -> None:
    command = await plant.ask(Action.PAUSE)
    await plant.control.accept(command.id, "e")
    await relay_of(plant, log).publish_some()
    await plant.projection.apply(await log.read("", limit=10))
    assert await plant.said() == []
    assert (await plant.control.get(command.id)).pending
