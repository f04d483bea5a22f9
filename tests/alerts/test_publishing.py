"""Steps of alerts in a real Redis: each once, in order, whatever is killed in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from pilothouse_server.adapters.redis_alerts import STREAM, RedisAlertStream
from pilothouse_server.adapters.sql.alert_outbox import SqlAlertOutbox
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.ports import Fence
from pilothouse_server.services.alerts.publisher import AlertPublisher
from pilothouse_server.wire.alert_events import encode_alert_event
from tests.alerts.build import SECOND, rule
from tests.alerts.conftest import Watchtower
from tests.support import wait_until

FENCE = Fence("shard-0", 7)


class Forgetful(SqlAlertOutbox):
    """The real outbox; the process can die before it removes what was published."""

    die = False

    async def remove(self, positions: Sequence[int]) -> None:
        if self.die:
            raise Unavailable("database", "killed")
        await super().remove(positions)


@pytest.fixture
async def tower(towers: Callable[..., Watchtower]) -> Watchtower:
    tower = towers(rule(for_us=2 * SECOND))
    tower.published = True
    await tower.open()
    return tower


@pytest.fixture
async def stream(redis_url: str) -> AsyncIterator[RedisAlertStream]:
    stream = RedisAlertStream(redis_url)
    yield stream
    await stream.close()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Any]:
    connection = cast("Any", Redis).from_url(redis_url)
    yield connection
    await connection.aclose()


def publisher(
    tower: Watchtower, stream: RedisAlertStream, fence: Fence = FENCE
) -> tuple[AlertPublisher, Forgetful]:
    outbox = Forgetful(tower.database)
    made = AlertPublisher(
        outbox, stream, encode_alert_event, tower.clock, tower.changes, fence=fence
    )  # fmt: skip
    return made, outbox


async def entries(redis: Any) -> list[dict[str, Any]]:
    found = await redis.xrange(STREAM)
    bodies = [json.loads(fields[b"event"]) for _, fields in found]
    assert [body["id"] for body in bodies] == [fields[b"id"].decode() for _, fields in found]
    return bodies


async def live_and_die(tower: Watchtower) -> None:
    """One alert from its beginning to its end."""
    for waiting in (50, 50, 50, 0):
        await tower.tick(waiting)


async def test_each_step_of_an_alert_is_published_with_the_alert(
    tower: Watchtower, stream: RedisAlertStream, redis: Any
) -> None:
    await live_and_die(tower)
    publishing, _ = publisher(tower, stream)
    assert await publishing.publish_some() == 3
    assert await publishing.publish_some() == 0
    (alert,) = await tower.alerts()
    told = await entries(redis)
    assert [body["id"] for body in told] == [f"{alert.id}:{at}" for at in range(3)]
    assert [(body["fromState"], body["toState"]) for body in told] == [
        ("", "PENDING"),
        ("PENDING", "FIRING"),
        ("FIRING", "RESOLVED"),
    ]
    last = told[-1]
    assert (last["act"], last["actor"], last["comment"]) == ("CONDITION", "", "")
    assert last["alert"]["summary"] == alert.summary
    assert last["alert"]["state"] == "ALERT_STATE_RESOLVED"
    assert last["occurTime"] == last["alert"]["resolveTime"]


async def test_a_kill_before_the_outbox_is_emptied_repeats_nothing(
    tower: Watchtower, stream: RedisAlertStream, redis: Any
) -> None:
    await live_and_die(tower)
    died, outbox = publisher(tower, stream)
    outbox.die = True
    with pytest.raises(Unavailable):
        await died.publish_some()
    await live_and_die(tower)
    heir, _ = publisher(tower, stream, Fence("shard-0", 8))
    while await heir.publish_some():
        pass
    ids = [body["id"] for body in await entries(redis)]
    assert (len(ids), len(set(ids))) == (6, 6)
    assert await SqlAlertOutbox(tower.database).oldest(10) == []


async def test_one_whose_tenure_is_over_publishes_nothing(
    tower: Watchtower, stream: RedisAlertStream, redis: Any
) -> None:
    await live_and_die(tower)
    frozen, _ = publisher(tower, stream)
    heir, _ = publisher(tower, stream, Fence("shard-0", 8))
    await heir.publish_some()
    await live_and_die(tower)
    assert await frozen.publish_some() == 0
    assert len(await entries(redis)) == 3
    await heir.publish_some()
    assert len(await entries(redis)) == 6


async def test_those_who_only_listen_hear_it_too_and_the_publisher_waits_for_steps(
    tower: Watchtower, stream: RedisAlertStream, redis: Any
) -> None:
    async with redis.pubsub() as listening:
        await listening.subscribe(STREAM)
        await wait_until(lambda: listening.get_message(timeout=1), what="the subscription")
        publishing, _ = publisher(tower, stream)
        running = asyncio.create_task(publishing.run())
        await live_and_die(tower)
        heard: list[str] = []

        async def all_heard() -> bool:
            message = await listening.get_message(timeout=0.1)
            if message is not None and message["type"] == "message":
                heard.append(json.loads(message["data"])["toState"])
            return len(heard) == 3

        await wait_until(all_heard, what="three steps")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert heard == ["PENDING", "FIRING", "RESOLVED"]


async def test_the_stream_keeps_so_many(tower: Watchtower, redis_url: str, redis: Any) -> None:
    stream = RedisAlertStream(redis_url, kept=100)
    publishing, _ = publisher(tower, stream)
    for _ in range(120):
        await live_and_die(tower)
    while await publishing.publish_some():
        pass
    assert publishing.published >= 360
    assert 100 <= await redis.xlen(STREAM) < 300
    await stream.close()


async def test_while_nobody_takes_them_the_newest_steps_wait_and_the_others_are_counted(
    tower: Watchtower, stream: RedisAlertStream, redis: Any
) -> None:
    away = RedisAlertStream("redis://127.0.0.1:1/0")
    outbox = SqlAlertOutbox(tower.database)
    waiting = AlertPublisher(
        outbox, away, encode_alert_event, tower.clock, tower.changes, fence=FENCE, most_waiting=4
    )
    for _ in range(3):
        await live_and_die(tower)
        with pytest.raises(Unavailable):
            await waiting.publish_some()
    await away.close()
    assert waiting.dropped == 5
    back, _ = publisher(tower, stream)
    assert await back.publish_some() == 4
    assert [body["toState"] for body in await entries(redis)] == [
        "RESOLVED",
        "PENDING",
        "FIRING",
        "RESOLVED",
    ]


async def test_an_alert_that_is_gone_holds_up_nothing(
    tower: Watchtower, stream: RedisAlertStream, redis: Any
) -> None:
    from pilothouse_server.adapters.sql.tables_control import ALERTS

    await live_and_die(tower)
    await tower.database.write(lambda c: c.execute(ALERTS.delete()).close())
    publishing, _ = publisher(tower, stream)
    assert await publishing.publish_some() == 3
    assert await entries(redis) == []
    assert await publishing.publish_some() == 0


async def test_without_a_redis_nothing_waits(towers: Callable[..., Watchtower]) -> None:
    tower = towers(rule())
    await tower.open()
    await tower.tick(50)
    assert await SqlAlertOutbox(tower.database).oldest(10) == []


async def test_a_redis_that_is_away_is_waited_for(tower: Watchtower) -> None:
    stream = RedisAlertStream("redis://127.0.0.1:1/0")
    await live_and_die(tower)
    publishing, _ = publisher(tower, stream)
    running = asyncio.create_task(publishing.run())
    await wait_until(lambda: publishing.waiting_for, what="it to say what it waits for")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(await SqlAlertOutbox(tower.database).oldest(10)) == 3
    await stream.close()
