"""A database with its schema, and replicas in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Protocol

import psycopg
import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.postgres_leases import LeaseTimes, PostgresLeases
from pilothouse_server.ports import Clock

TABLE = """CREATE TABLE leases (name text PRIMARY KEY, epoch bigint NOT NULL, holder text NOT NULL,
acquire_us bigint NOT NULL)"""

QUICK = LeaseTimes(session=8.0, look=0.05, answer=2.0, patience=2.0, settled=0.4, grace=0.3)
"""Quick where that hurts nobody. A test's own process may stand still for seconds on a busy machine: no lease goes by
that, and nobody takes more than his share because the other one was slow."""


class Start(Protocol):
    """Starts the replica of that name."""

    def __call__(self, name: str, clock: Clock | None = None) -> PostgresLeases: ...


@pytest.fixture
def lease_url(database_url: str) -> str:
    """A database with nothing but the table of leases."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(TABLE)
    return database_url


@pytest.fixture
async def replicas(lease_url: str) -> AsyncIterator[Start]:
    """Starts replicas by their names."""
    async with AsyncExitStack() as stack:
        started: list[asyncio.Task[None]] = []

        def start(name: str, clock: Clock | None = None) -> PostgresLeases:
            leases = PostgresLeases(lease_url, name, clock or SystemClock(), QUICK)
            started.append(asyncio.create_task(leases.run()))
            return leases

        yield start
        for task in started:
            task.cancel()
        if started:
            await asyncio.wait(started)
        await stack.aclose()
