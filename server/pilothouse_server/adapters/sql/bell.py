"""Wakes those who wait in other replicas, by LISTEN and NOTIFY on one PostgreSQL connection of its own.

A ring says only which topics changed. It may be lost with the connection, so whoever waits looks again from time to
time anyway, and once a lost connection is back every topic counts as rung.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Final
from uuid import uuid4

import psycopg
import structlog
from psycopg import sql

from pilothouse_server.adapters.sql.answers import answered
from pilothouse_server.services.fanout import Changes

CHANNEL: Final = "pilothouse_bell"
COALESCED: Final = 0.01
"""Seconds from one ring to the next at least; what changes meanwhile is rung once."""
PING: Final = 5.0
"""Seconds of silence after which the connection has to show that it is alive."""
ANSWER: Final = 5.0
"""Seconds that the server may take for one answer."""
FIRST_RETRY, LAST_RETRY = 0.1, 1.0
"""Seconds to wait before connecting again, doubled each time."""

Connection = psycopg.AsyncConnection[tuple[object, ...]]

_log = structlog.get_logger(__name__)


class Bell:
    """`run` it beside the rest. `waiting_for` says why rings are neither heard nor given, "" when they are.

    What waits to be rung is a set of topics, so it cannot grow.
    """

    def __init__(
        self,
        url: str,
        topics: Mapping[str, Changes],
        *,
        channel: str = CHANNEL,
        answer: float = ANSWER,
    ) -> None:
        self._url = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._topics = dict(topics)
        self._channel = channel
        self._answer = answer
        self._name = uuid4().hex
        self._due: set[str] = set()
        self._stir = asyncio.Event()
        self.waiting_for = ""
        self.given = 0
        """Rings given to others."""
        self.heard = 0
        """Rings heard from others."""
        self.connections = 0
        """Times that it connected."""
        for topic, changes in self._topics.items():
            changes.elsewhere = lambda topic=topic: self._ring(topic)

    async def run(self) -> None:
        """Rings and listens until it is cancelled."""
        retry = FIRST_RETRY
        while True:
            before = self.connections
            try:
                await self._connected()
            except (psycopg.Error, OSError, TimeoutError) as error:
                if not self.waiting_for:
                    _log.warning("other replicas are not woken until the database is back")
                self.waiting_for = _said(error)
            if self.connections != before:
                retry = FIRST_RETRY
            await asyncio.sleep(retry * random.uniform(0.5, 1.0))  # noqa: S311 - spreads replicas, hides nothing
            retry = min(2 * retry, LAST_RETRY)

    def _ring(self, topic: str) -> None:
        self._due.add(topic)
        self._stir.set()

    async def _connected(self) -> None:
        """Rings and listens while the connection holds. Raises what broke it."""
        async with asyncio.timeout(self._answer):
            connection = await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                application_name="pilothouse-bell",
                connect_timeout=int(ANSWER),
                tcp_user_timeout=int(2000 * ANSWER),
            )
        try:
            connection.add_notify_handler(lambda notify: self._hear(notify.payload))
            listen = sql.SQL("LISTEN {}").format(sql.Identifier(self._channel))
            await answered(connection, connection.execute(listen), self._answer)
            self.connections += 1
            self.waiting_for = ""
            # Nobody knows what was rung before anybody listened.
            for changes in self._topics.values():
                changes.wake()
            # What could not be rung before is rung now.
            self._stir.set()
            while True:
                await self._stirred(connection)
                await self._tell(connection)
                await asyncio.sleep(COALESCED)
        finally:
            await connection.close()

    async def _stirred(self, connection: Connection) -> None:
        """Returns when there is something to ring or to read, or it is time for a ping."""
        loop, readable = asyncio.get_running_loop(), connection.fileno()
        # The library reads only while a statement runs, and then watches the socket itself.
        loop.add_reader(readable, self._stir.set)
        try:
            async with asyncio.timeout(PING):
                await self._stir.wait()
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(readable)
        self._stir.clear()

    async def _tell(self, connection: Connection) -> None:
        """One statement: rings what is due, or only pings; either way what others rang comes with the answer."""
        due, self._due = self._due, set()
        try:
            if due:
                payload = f"{self._name} {' '.join(sorted(due))}"
                ring = connection.execute("SELECT pg_notify(%s, %s)", (self._channel, payload))
                await answered(connection, ring, self._answer)
                self.given += 1
            else:
                await answered(connection, connection.execute("SELECT 1"), self._answer)
        except BaseException:
            self._due |= due
            raise
        # What came behind the answer in one packet is no longer seen at the socket.
        while (notify := connection.pgconn.notifies()) is not None:
            self._hear(notify.extra.decode())

    def _hear(self, payload: str) -> None:
        name, _, topics = payload.partition(" ")
        if name == self._name:
            return
        self.heard += 1
        for topic in topics.split():
            # A newer replica may know topics that we do not.
            if topic in self._topics:
                self._topics[topic].wake()


def _said(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else "the database did not answer in time"
