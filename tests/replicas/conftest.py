"""A database with its schema, and replicas in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import psycopg
import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.postgres_leases import LeaseTimes, PostgresLeases

TABLE = """CREATE TABLE leases (name text PRIMARY KEY, epoch bigint NOT NULL, holder text NOT NULL,
acquire_us bigint NOT NULL)"""

QUICK = LeaseTimes(session=1.0, look=0.05, answer=1.0, patience=0.6, settled=0.4, grace=0.3)

NewReplica = Callable[..., PostgresLeases]


@pytest.fixture
def lease_url(database_url: str) -> str:
    """A database with nothing but the table of leases."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(TABLE)
    return database_url


@pytest.fixture
async def replicas(lease_url: str) -> AsyncIterator[Callable[[str], PostgresLeases]]:
    """Starts replicas by their names."""
    async with AsyncExitStack() as stack:
        started: list[asyncio.Task[None]] = []

        def start(name: str) -> PostgresLeases:
            leases = PostgresLeases(lease_url, name, SystemClock(), QUICK)
            started.append(asyncio.create_task(leases.run()))
            return leases

        yield start
        for task in started:
            task.cancel()
        if started:
            await asyncio.wait(started)
        await stack.aclose()
