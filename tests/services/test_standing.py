"""How a server is, from what its parts say, also while those that know do not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import insert

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql import migrate
from pilothouse_server.adapters.sql.others import SqlOthers, next_epoch
from pilothouse_server.adapters.sql.sqlite import SqliteDatabase
from pilothouse_server.adapters.sql.tables_leases import LEASES
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.services import standing
from pilothouse_server.services.standing import Asked, Identity, Standing, reads, waits
from pilothouse_server.services.status import Component, ComponentState, Lease, LogShard, Replica

ME = Identity(version="1", replica_id="me", log_address="redis://r", database_address="file")


@dataclass
class Part:
    """Something that waits, or reads."""

    waiting_for: str = ""
    cursor: str = ""


class Silent:
    """A database that does not answer."""

    async def leases(self) -> Sequence[Lease]:
        raise Unavailable("database", "it is away")

    async def replicas(self) -> Sequence[Replica]:
        await asyncio.Event().wait()
        return ()


def test_a_server_is_as_its_parts_are() -> None:
    relay, log, lag = Part(), Part(), 0
    found = Standing(ME, SystemClock())
    found.serving = True
    found.watch("log", waits("log", log, without=ComponentState.DOWN))
    found.watch("relay", waits("relay", relay))
    found.watch("aggregator", reads("aggregator", Part(cursor="7-0"), shard=2, lag_us=lambda: lag))

    assert found.readiness().reasons == ()
    relay.waiting_for, log.waiting_for, lag = "database: away", "connection refused", 6_000_000
    assert found.readiness().reasons == (
        "log: connection refused",
        "relay: database: away",
        "aggregator of shard 2: 6 s behind the log",
    )
    assert found.readiness().ready
    found.leave("relay")
    assert len(found.readiness().reasons) == 2


def test_what_it_stands_on_is_named_with_the_time_for_which_it_is_away() -> None:
    log = Part("connection refused")
    found = Standing(ME, clock := SystemClock())
    found.watch("log", waits("log", log, without=ComponentState.DOWN))
    found.watch("relay", waits("relay", Part("log: connection refused")))

    assert found.troubles() == ["the event log has not answered for 0 s"]
    found.watch(
        "log",
        lambda: Component(
            name="log",
            state=ComponentState.DOWN,
            reason="away",
            since_us=clock.now_us() - 185_000_000,
        ),
    )
    assert found.troubles() == ["the event log has not answered for 3 min"]


def test_before_the_start_and_after_the_end_a_server_does_not_serve() -> None:
    found = Standing(ME, SystemClock())
    assert not found.readiness().ready
    found.serving = True
    assert found.readiness().ready


async def test_what_others_would_have_to_say_is_left_out_when_they_are_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standing, "ANSWER_WITHIN", 0.02)

    async def shards() -> Sequence[LogShard]:
        return [LogShard(shard=0, stream="workflow:events")]

    found = Standing(ME, SystemClock(), others=Silent(), log_shards=shards)
    status = await found.status()

    assert (status.leases, [each.id for each in status.replicas]) == ((), ["me"])
    assert status.log_shards[0].stream == "workflow:events"
    assert status.uptime_us >= 0


async def test_what_does_not_answer_is_noticed_and_so_is_what_answers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standing, "ANSWER_WITHIN", 0.02)
    script = iter(("answer", "refuse", "hang", "answer"))

    async def ask() -> None:
        match next(script):
            case "refuse":
                raise Unavailable("log", "connection refused")
            case "hang":
                await asyncio.Event().wait()
            case _:
                pass

    asked = Asked(ask, SystemClock())
    said: list[str] = []
    for _ in range(4):
        await asked.look()
        said.append(asked.waiting_for)

    assert said == ["", "connection refused", "no answer within 0.02 s", ""]


async def test_a_lease_whose_holder_is_gone_is_held_by_nobody(tmp_path: Path) -> None:
    await asyncio.to_thread(migrate.upgrade, tmp_path / "state.sqlite3")
    database = SqliteDatabase(tmp_path / "state.sqlite3")
    rows = [
        {"name": name, "holder": holder, "epoch": 7, "acquire_us": 5}
        for name, holder in (("shard-10", "gone"), ("shard-2", "b"), ("shard-0", "b"))
    ]
    await database.write(lambda connection: connection.execute(insert(LEASES), rows).close())
    views = SqlOthers(database, lambda: ["a", "b"])

    found = [(lease.name, lease.holder, lease.acquire_us) for lease in await views.leases()]
    replicas = [(each.id, each.leads) for each in await views.replicas()]
    await database.close()

    assert found == [("shard-0", "b", 5), ("shard-2", "b", 5), ("shard-10", "", 5)]
    assert replicas == [("a", False), ("b", True)]


async def test_epochs_grow_from_start_to_start_also_when_the_clock_was_put_back(
    tmp_path: Path,
) -> None:
    await asyncio.to_thread(migrate.upgrade, tmp_path / "state.sqlite3")
    database = SqliteDatabase(tmp_path / "state.sqlite3")
    epochs = [
        await next_epoch(database, "me", now_us) for now_us in (9_000_000, 5_000_000, 9_500_000)
    ]
    await database.close()
    assert epochs == [9_000, 9_001, 9_500]
