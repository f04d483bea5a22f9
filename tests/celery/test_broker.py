"""The broker, as the connector sees it: gone in the middle, and back."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import pytest

from pilothouse_server.connectors.celery.broker import Broker, BrokerAway
from tests.servers.proxy import Proxy
from tests.support import wait_until

# Celery has no types: what is its own is Any.
_celery: Any = import_module("celery")


def beat(url: str, host: str) -> None:
    """A heartbeat, as a worker of this name sends it."""
    app: Any = _celery.Celery("sender", broker=url, set_as_current=False)
    with app.connection_for_write() as connection:
        dispatcher: Any = app.events.Dispatcher(connection, hostname=host)
        with dispatcher:
            dispatcher.send("worker-heartbeat")
    app.close()


async def has_heard(broker: Broker, host: str) -> bool:
    """Whether a heartbeat of it came."""
    batches = await broker.batches(0.1)
    return any(each.get("hostname") == host for batch in batches for each in batch)


async def hears(broker: Broker, url: str, host: str) -> None:
    """Returns once a heartbeat came; as those of a worker they come again and again."""

    async def heard() -> bool:
        await asyncio.to_thread(beat, url, host)
        return await has_heard(broker, host)

    await wait_until(heard, within=30, what=f"a heartbeat of {host}")


async def test_what_is_told_once_one_listens_is_heard(redis_url: str) -> None:
    async with Broker(redis_url) as broker:
        await broker.listen()
        await asyncio.to_thread(beat, redis_url, "first@h")
        await wait_until(lambda: has_heard(broker, "first@h"), within=30, what="the heartbeat")


@pytest.mark.timeout(180)
async def test_a_broker_that_goes_and_comes_back_is_listened_to_again(redis_url: str) -> None:
    place = urlsplit(redis_url)
    assert place.hostname
    assert place.port
    async with Proxy(place.hostname, place.port) as proxy:
        url = place._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
        async with Broker(url) as broker:
            await broker.listen()
            await hears(broker, redis_url, "before@h")
            assert broker.connections == 1
            proxy.mode = "refuse"
            await proxy.cut()
            await wait_until(lambda: not broker.connected, within=30, what="it is noticed")
            with pytest.raises(BrokerAway):
                async with asyncio.timeout(40):
                    await broker.ask("active_queues", expect=1, within=0.2)
            proxy.mode = "pass"
            await wait_until(lambda: broker.connected, within=45, what="it is there again")
            assert broker.connections == 2
            await hears(broker, redis_url, "after@h")
            assert await broker.ask("active_queues", expect=1, within=0.2) == {}
