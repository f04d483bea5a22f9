"""Removes what is older, or more, than is to be kept: a little at a time, so that nobody waits for it.

What is live stays, however old: workflows that have not ended, commands and alerts that are not over, agents with work
in hand. Each step is a transaction of its own and needs no other, so that it can be ended at any moment and done again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import Clock, LogKeep, TrimmedLog

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US

FIRST: Final = 5.0
"""Seconds after the start until the first look."""
EVERY: Final = 60.0
"""Seconds between two looks."""
FIRST_RETRY, LAST_RETRY = 1.0, 60.0
"""Seconds to wait when the log or the database cannot be reached, doubled each time."""
BUDGET: Final = 0.02
"""Seconds that one transaction is to work: fewer rows are removed at once when it takes longer. Waiting for its turn
and for the disk is not counted: fewer rows would make neither shorter."""
FEWEST_ROWS, FIRST_ROWS, MOST_ROWS = 512, 512, 4096
"""Rows that one transaction removes. With fewer, most of its time would go into what each costs anyway, and removing
could fall behind what comes."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.05
"""Seconds between two transactions, in between as long as the one before took: others have half of the time."""
SPARED_US: Final = 15 * MINUTE_US
"""Younger events stay however many there are: they tell repeats from news."""
TOGETHER_US: Final = HOUR_US
"""Agents are removed together, so much apart: who watches them is sent all of them again each time."""


LEAP_US: Final = DAY_US
"""When the wall clock was put forward by so much while the process ran, nothing is removed for as long as that was:
either the clock is wrong, and what it would remove is young, or nobody was awake to look at it."""


class Kind(StrEnum):
    """What is removed from the database."""

    EVENTS = "events"
    WORKFLOWS = "workflows"
    COMMANDS = "commands"
    ALERTS = "alerts"
    DELIVERIES = "deliveries"
    AGENTS = "agents"
    EXECUTORS = "executors"


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept. Ages in microseconds; 0 is for ever."""

    events_us: int = 7 * DAY_US
    """Since they were received."""
    events: int = 5_000_000
    """The newest so many; 0 is all."""
    workflows_us: int = 30 * DAY_US
    """Finished ones with their tasks, since anything in them changed."""
    commands_us: int = 90 * DAY_US
    """Since they ended."""
    alerts_us: int = 90 * DAY_US
    """Since they were resolved."""
    agents_us: int = DAY_US
    """Since they were heard and nothing in them changed."""
    executors_us: int = 30 * DAY_US
    """Since they were connected."""
    log: LogKeep = LogKeep(age_us=DAY_US, size_bytes=4 << 30, cap_bytes=16 << 30)  # noqa: RUF009 - it cannot change

    @property
    def deliveries_us(self) -> int:
        """Since they ended: what was told of an alert is known as long as the alert is."""
        return self.alerts_us

    def configured(self, config: PlatformConfig) -> Policy:
        """The same, with what can be changed while the platform runs as it is in force."""
        return replace(
            self,
            events_us=config.keep_events_us,
            events=config.keep_event_count,
            workflows_us=config.keep_workflows_us,
            commands_us=config.keep_commands_us,
            alerts_us=config.keep_alerts_us,
            agents_us=config.keep_agents_us,
        )

    def age_us(self, kind: Kind) -> int:
        """How long things of a kind are kept."""
        age: int = getattr(self, f"{kind.value}_us")
        return age


class Cut(NamedTuple):
    """Where to cut."""

    now_us: int
    before_us: int
    """What is older goes; 0 is nothing."""
    newest: int = 0
    """Of events so many stay, and what is beyond goes; 0 is no limit."""
    spared_us: int = 0
    """Events after this stay, however many there are."""


class Kept(NamedTuple):
    """What is there, by what the database knows without counting."""

    events: int
    oldest_event_us: int | None
    """When it was received; None when there is none."""
    horizon_us: int
    """Whether an event up to this time is news or a repeat cannot be told any more; 0: none was removed yet."""


class Removed(NamedTuple):
    """What one transaction did."""

    rows: int
    more: bool
    """Whether more are perhaps to go."""
    seconds: float = 0.0
    """For which it worked, and others may have had to wait for it."""


class RetentionStore(Protocol):
    """The rows. Every call may raise Unavailable, and LeaseLost when somebody else is to do this by now."""

    async def mark(self, now_us: int) -> None:
        """Notes how far changes had come by now."""
        ...

    async def remove(self, kind: Kind, cut: Cut, limit: int) -> Removed:
        """Removes up to about `limit` rows with what belongs to them."""
        ...

    async def kept(self) -> Kept: ...

    async def cursors(self) -> Mapping[str, str]:
        """Where each consumer of the log stands, by its name."""
        ...

    async def give_back(self) -> int:
        """Gives some of the space that is free back to the disk; returns how many pages, 0 when that is all."""
        ...


@dataclass(slots=True)
class RetentionCounts:
    """For `/metrics`."""

    removed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    """By kind."""
    trimmed: int = 0
    """Entries of the log."""
    batches: int = 0
    runs: int = 0
    failures: int = 0
    last_run_us: int = 0
    """When the last look that did all it had to had begun; 0: none did yet."""


@dataclass(slots=True)
class _Batches:
    """How many rows of a kind go at once."""

    cut: Cut
    rows: int = FIRST_ROWS

    def took(self, seconds: float) -> None:
        if seconds > BUDGET:
            self.rows = max(self.rows // 2, FEWEST_ROWS)
        elif seconds < BUDGET / 2:
            self.rows = min(self.rows * 2, MOST_ROWS)


def consumers(shard: int) -> tuple[str, str]:
    """Those who read a shard of the log, by the names of their cursors."""
    suffix = f":{shard}" if shard else ""
    return f"projector{suffix}", f"aggregator{suffix}"


class Retention:
    """`logs` are the shards of the log by number; `policy` is asked at each look. `waiting_for` tells what it
    retries, "" when all is well."""

    def __init__(
        self,
        store: RetentionStore,
        logs: Mapping[int, TrimmedLog],
        clock: Clock,
        policy: Callable[[], Policy],
    ) -> None:
        self._store = store
        self._logs = logs
        self._clock = clock
        self._policy = policy
        self._agents_at_us = 0
        self._leapt_us = 0
        """Up to where what the clock left out was waited for."""
        self._waits_until = float("-inf")
        self.counts = RetentionCounts()
        self.kept: Kept | None = None
        """As the last look found it."""
        self.waiting_for = ""

    async def run(self) -> None:
        """Looks now and then until it is cancelled. Raises LeaseLost."""
        retry, pause = FIRST_RETRY, FIRST
        while True:
            await self._clock.sleep(pause)
            try:
                await self.sweep()
            except Unavailable as error:
                self.waiting_for = error.message
                retry, pause = min(2 * retry, LAST_RETRY), retry
            else:
                self.waiting_for = ""
                retry, pause = FIRST_RETRY, EVERY

    async def sweep(self) -> None:
        """One look: removes all that is to go. Raises Unavailable when some of it could not be, after all the rest."""
        now_us = self._clock.now_us()
        failed: Unavailable | None = None
        for part in (self._remove_rows, self._trim_logs, self._give_back):
            try:
                await part(now_us)
            except Unavailable as error:
                self.counts.failures += 1
                failed = failed or error
        if failed is not None:
            raise failed
        self.kept = await self._store.kept()
        self.counts.runs += 1
        self.counts.last_run_us = now_us

    def _wait_after_leap(self) -> None:
        """Raises Unavailable while the clock cannot be trusted with what nobody can bring back."""
        leapt_us, now = self._clock.stepped_us - self._leapt_us, self._clock.monotonic()
        if leapt_us >= LEAP_US:
            self._leapt_us = self._clock.stepped_us
            self._waits_until = max(self._waits_until, now) + leapt_us / 1_000_000
        if now < self._waits_until:
            hours = (self._waits_until - now) / 3600
            told = (
                f"the wall clock was put forward by days, so nothing is removed for {hours:.0f} hours; if it is right"
                " now, start the server again"
            )
            raise Unavailable("server", told)

    async def _remove_rows(self, now_us: int) -> None:
        self._wait_after_leap()
        await self._store.mark(now_us)
        # In turn, so that much of one kind does not keep the others waiting.
        left = self._due(now_us)
        while left:
            for kind, batches in list(left.items()):
                if not await self._paced(partial(self._remove, kind, batches)):
                    del left[kind]
        if now_us - self._agents_at_us >= TOGETHER_US:
            self._agents_at_us = now_us

    async def _remove(self, kind: Kind, batches: _Batches) -> bool:
        removed = await self._store.remove(kind, batches.cut, batches.rows)
        batches.took(removed.seconds)
        self.counts.removed[kind] += removed.rows
        return removed.more

    def _due(self, now_us: int) -> dict[Kind, _Batches]:
        policy = self._policy()
        due: dict[Kind, _Batches] = {}
        for kind in Kind:
            if kind is Kind.AGENTS and now_us - self._agents_at_us < TOGETHER_US:
                continue
            age_us = policy.age_us(kind)
            cut = Cut(now_us, now_us - age_us if age_us else 0)
            if kind is Kind.EVENTS:
                cut = cut._replace(newest=policy.events, spared_us=now_us - SPARED_US)
            if cut.before_us or cut.newest:
                due[kind] = _Batches(cut)
        return due

    async def _trim_logs(self, now_us: int) -> None:
        del now_us
        cursors = await self._store.cursors()
        for shard, log in self._logs.items():
            told = [cursors.get(name, "") for name in consumers(shard)]
            slowest = min(told, key=log.position)
            while removed := await self._paced(partial(log.trim, slowest, self._policy().log)):
                self.counts.trimmed += removed

    async def _give_back(self, now_us: int) -> None:
        del now_us
        while await self._paced(self._store.give_back):
            pass

    async def _paced(self, step: Callable[[], Awaitable[int]]) -> int:
        """What one step did; others have had their turn since."""
        begun = self._clock.monotonic()
        done = await step()
        took = self._clock.monotonic() - begun
        self.counts.batches += 1
        if done:
            await self._clock.sleep(min(max(SHORTEST_PAUSE, took), LONGEST_PAUSE))
        return done
