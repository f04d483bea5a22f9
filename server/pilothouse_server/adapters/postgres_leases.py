"""Leases that PostgreSQL arbitrates: a lease is a session advisory lock of one connection that each replica keeps.

The lock goes with the connection, and the connection with its replica: at once when the replica dies, and when it is
frozen or cut off after `idle_session_timeout`, for a replica that lives pings more often than that. No replica's clock
is asked. Each acquisition raises the lease's epoch, in a statement that waits until no transaction of the tenure before
is under way; from then on those are refused (`sql/fencing.py`).

While PostgreSQL cannot be reached a tenure is in doubt, not over: its holder can store nothing, and goes on if it finds
lock and epoch as they were. Leases are shared out evenly: who has more than its share gives one back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import psycopg
import structlog

from pilothouse_server.adapters.sql.answers import answered
from pilothouse_server.domain.addresses import scrubbed
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.ports import Clock, Fence

LOCK_CLASS: Final = 0x50494C4F
"""The first half of the key of each lease's advisory lock; the second is CRC-32 of its name."""

_APPLICATION = "pilothouse-lease "
"""What the connections are called, with the replica's id behind it: so the living are counted."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds."""

    session: float = 3.0
    """After which PostgreSQL ends the connection of a replica that says nothing."""
    look: float = 0.25
    """Between two looks for a lease that is free; also how often the connection is used."""
    answer: float = 2.0
    """That PostgreSQL may take for an answer, before it counts as away."""
    patience: float = 2.0
    """For which a lease must be free before one who has its share takes it."""
    settled: float = 5.0
    """For which the number of replicas must not change before leases are given back."""
    grace: float = 1.0
    """After a lost connection is back, for which a lease is left to its holder, who lost its own too."""
    first_retry: float = 0.1
    last_retry: float = 1.0


class PostgresTenure:
    """A tenure; `waiting_for` tells why it is in doubt."""

    def __init__(self, fence: Fence) -> None:
        self.fence = fence
        self.waiting_for = ""
        self._over = asyncio.Event()

    async def lost(self) -> None:
        """Returns when it is over."""
        await self._over.wait()

    def surrender(self) -> None:
        """Ends it."""
        self._over.set()

    @property
    def over(self) -> bool:
        """Whether it is."""
        return self._over.is_set()


class PostgresLeases:
    """`run` keeps the connection; `hold` asks for a lease. Replicas are told apart by their ids."""

    def __init__(
        self, url: str, replica: str, clock: Clock, times: LeaseTimes | None = None
    ) -> None:
        self.waiting_for = ""
        """Why PostgreSQL cannot be asked; "" when it can."""
        self.replicas: Sequence[str] = (replica,)
        """Those alive when last seen; while `waiting_for` says why, that may be long ago."""
        self._url = url
        self._replica = replica
        self._clock = clock
        self._times = times or LeaseTimes()
        self._wanted: dict[str, asyncio.Future[PostgresTenure]] = {}
        self.held: dict[str, PostgresTenure] = {}
        """The tenures that are ours, in doubt or not."""
        self._free_since: dict[str, float] = {}
        self._counted_at = clock.monotonic()
        self.grace_until = clock.monotonic()
        """Until then, by the monotonic clock, nothing is taken."""
        self._left_over: Sequence[str] = ()
        """The replicas among which nobody but us took what was free: to them nothing is given up again."""
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._asked = asyncio.Event()

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncGenerator[PostgresTenure]:
        """Waits for the lease, and gives it back on leaving."""
        wanted = self._wanted[name] = asyncio.get_running_loop().create_future()
        self._asked.set()
        try:
            tenure = await wanted
        except asyncio.CancelledError:
            if wanted.done() and not wanted.cancelled():
                await self._give_back(name, wanted.result())
            raise
        finally:
            if self._wanted.get(name) is wanted:
                del self._wanted[name]
        try:
            yield tenure
        finally:
            await self._give_back(name, tenure)

    async def run(self) -> None:
        """Keeps the connection until it is cancelled."""
        pause = self._times.first_retry
        while True:
            try:
                await self._keep_connection()
            except (psycopg.Error, OSError, TimeoutError) as error:
                if not self.waiting_for:
                    _log.warning("leases in doubt", reason=scrubbed(_said(error), self._url))
                    pause = self._times.first_retry
                self._doubt(scrubbed(_said(error), self._url))
                await self._clock.sleep(pause)
                pause = min(2 * pause, self._times.last_retry)

    async def _keep_connection(self) -> None:
        times = self._times
        connection = await asyncio.wait_for(
            psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                application_name=_APPLICATION + self._replica,
                connect_timeout=3,
                options=(
                    f"-c idle_session_timeout={round(times.session * 1000)} "
                    f"-c statement_timeout={round(times.answer * 1000)} "
                    f"-c lock_timeout={round(times.answer * 250)}"
                ),
            ),
            times.answer + 3,
        )
        try:
            if self.waiting_for:
                self.grace_until = self._clock.monotonic() + times.grace
                _log.info("leases can be asked for again")
            self._connection, self.waiting_for = connection, ""
            while True:
                self._asked.clear()
                await answered(connection, self._look(connection), times.answer)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(times.look):
                        await self._asked.wait()
        finally:
            self._connection = None
            # Never `await close()`: who is cut off would wait for an answer.
            connection.pgconn.finish()

    def _doubt(self, reason: str) -> None:
        self.waiting_for = reason
        for tenure in self.held.values():
            tenure.waiting_for = reason

    async def _look(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """One look at who is there, and what is to be done about it."""
        locked = await self._locked(connection)
        for name, tenure in list(self.held.items()):
            # Given back meanwhile, it is not to be locked again: nobody would ever unlock it.
            if tenure.waiting_for and self.held.get(name) is tenure:
                await self._confirm(connection, name, tenure)
        now = self._clock.monotonic()
        for name in self._wanted:
            if _key(name) in locked:
                self._free_since.pop(name, None)
            else:
                self._free_since.setdefault(name, now)
        share = self._share()
        for name in self._eligible(share, now):
            if not await self._acquire(connection, name):
                break
        settled = now - self._counted_at > self._times.settled
        if len(self.held) > share and settled and self.replicas != self._left_over:
            self._yield_one()

    async def _locked(self, connection: psycopg.AsyncConnection[Any]) -> set[int]:
        """The keys of the leases that somebody holds; also counts the living."""
        rows = await connection.execute(_LOOK, (LOCK_CLASS, _APPLICATION + "%"))
        keys: set[int] = set()
        living: set[str] = set()
        async for name, key in rows:
            living.add(name.removeprefix(_APPLICATION))
            if key is not None:
                keys.add(key)
        replicas = sorted(living)
        if replicas != self.replicas:
            self.replicas = replicas
            self._counted_at = self._clock.monotonic()
        return keys

    def _share(self) -> int:
        """How many leases are ours when all are shared out."""
        leases = len(self.held) + len(self._wanted)
        return -(-leases // max(1, len(self.replicas)))

    def _eligible(self, share: int, now: float) -> Iterable[str]:
        """The free leases that we should take now, the first ones first."""
        if now < self.grace_until:
            return
        for name in sorted(self._wanted, key=_numbered):
            since = self._free_since.get(name)
            if since is None or name in self.held:
                continue
            if len(self.held) < share:
                yield name
            elif now - since > self._times.patience:
                self._left_over = self.replicas
                yield name

    async def _acquire(self, connection: psycopg.AsyncConnection[Any], name: str) -> bool:
        """Takes a lease if it can be. False when that took so long that other leases should wait for the next look."""
        if not await _locks(connection, name):
            return True
        try:
            row = await (await connection.execute(_BEGIN, (name, self._replica))).fetchone()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
            # A transaction of the tenure before is under way and does not end; it is ended by its own timeout. Waiting
            # for that here would put in doubt what we hold.
            await connection.execute(_UNLOCK, (LOCK_CLASS, _key(name)))
            return False
        wanted = self._wanted.pop(name, None)
        self._free_since.pop(name, None)
        if row is None or wanted is None or wanted.done():
            await connection.execute(_UNLOCK, (LOCK_CLASS, _key(name)))
            return True
        tenure = PostgresTenure(Fence(name, row[0]))
        self.held[name] = tenure
        _log.info("lease begins", lease=name, epoch=tenure.fence.epoch)
        wanted.set_result(tenure)
        return True

    async def _confirm(
        self, connection: psycopg.AsyncConnection[Any], name: str, tenure: PostgresTenure
    ) -> None:
        """Finds out whether a tenure in doubt is still ours. As long as our own lost connection keeps the lock, it
        stays in doubt."""
        locked = await _locks(connection, name)
        row = await (await connection.execute(_EPOCH, (name,))).fetchone()
        if row is None or row[0] != tenure.fence.epoch:
            if locked:
                await connection.execute(_UNLOCK, (LOCK_CLASS, _key(name)))
            _log.warning("lease lost", lease=name, epoch=tenure.fence.epoch)
            tenure.surrender()
        elif locked:
            _log.info("lease confirmed", lease=name, epoch=tenure.fence.epoch)
            tenure.waiting_for = ""

    def _yield_one(self) -> None:
        """Ends the tenure of the last lease: another replica has fewer."""
        name = max(self.held, key=_numbered)
        self._counted_at = self._clock.monotonic()
        _log.info("lease given up to another replica", lease=name)
        self.held[name].surrender()

    async def _give_back(self, name: str, tenure: PostgresTenure) -> None:
        if self.held.get(name) is tenure:
            del self.held[name]
        self._free_since.pop(name, None)
        connection = self._connection
        if connection is not None:
            giving = connection.execute(_UNLOCK, (LOCK_CLASS, _key(name)))
            with contextlib.suppress(psycopg.Error, OSError):
                await answered(connection, giving, self._times.answer)


_LOOK: Final = """
SELECT a.application_name, CASE WHEN l.objid > 2147483647 THEN l.objid::bigint - 4294967296 ELSE l.objid::bigint END
FROM pg_stat_activity a
LEFT JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
    AND l.classid = %s::bigint::oid
WHERE a.datname = current_database() AND a.application_name LIKE %s
"""
_LIVING: Final = """
SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s
"""
# Epochs begin at the time, in ms, so that a database made anew does not begin below the fences that a Redis remembers.
_BEGIN: Final = """
INSERT INTO leases AS l (name, epoch, holder, acquire_us)
SELECT %s, now.us / 1000, %s, now.us
FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS now
ON CONFLICT (name) DO UPDATE
SET epoch = greatest(l.epoch + 1, excluded.epoch), holder = excluded.holder, acquire_us = excluded.acquire_us
RETURNING epoch
"""
_EPOCH: Final = "SELECT epoch FROM leases WHERE name = %s"
_LOCK: Final = "SELECT pg_try_advisory_lock(%s, %s)"
_UNLOCK: Final = "SELECT pg_advisory_unlock(%s, %s)"


async def living(url: str) -> list[str]:
    """The replicas that run now, for somebody who is none. Raises Unavailable."""
    try:
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=5) as connection:
            rows = await connection.execute(_LIVING, (_APPLICATION + "%",))
            return sorted({name.removeprefix(_APPLICATION) async for (name,) in rows})
    except psycopg.Error as error:
        raise Unavailable("database", scrubbed(_said(error), url)) from error


async def _locks(connection: psycopg.AsyncConnection[Any], name: str) -> bool:
    row = await (await connection.execute(_LOCK, (LOCK_CLASS, _key(name)))).fetchone()
    return bool(row and row[0])


def _key(name: str) -> int:
    """As PostgreSQL's signed 32 bits."""
    key = crc32(name.encode())
    return key - (1 << 32) if key > 0x7FFFFFFF else key


def _numbered(name: str) -> tuple[int, str]:
    """Leases in the order of the number behind their name."""
    _, _, number = name.rpartition("-")
    return (int(number) if number.isdigit() else 0, name)


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "PostgreSQL does not answer"
    return " ".join(str(error).split()) or type(error).__name__
