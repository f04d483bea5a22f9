"""Backtests: stored history replayed for a draft rule, in bounded chunks, beside everything that is live.

Few run at once, and all of them together take at most half of the interpreter: each slice of work is followed by as
long a rest. Nothing is read that a cancelled caller does not want any more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.alerts.backtest import Backtest, WouldBe
from pilothouse_server.domain.alerts.caveats import Facts, caveats, nothing_stored
from pilothouse_server.domain.alerts.charting import Line
from pilothouse_server.domain.alerts.conditions import AlertMetric
from pilothouse_server.domain.alerts.matchers import all_match
from pilothouse_server.domain.alerts.phases import Extent, Phase, phases
from pilothouse_server.domain.alerts.replay import Piece, Replay, needs_of
from pilothouse_server.domain.alerts.rules import LABEL_OF, Rule
from pilothouse_server.domain.errors import Busy, InvalidArgument, LimitExceeded, Unavailable
from pilothouse_server.domain.metrics.checkpoint import BucketRow, unpack, unpack_counts
from pilothouse_server.domain.metrics.limits import AGENT_MEMORY_US
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, AgentSeen, Dimension
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import Clock
from pilothouse_server.services.alerts.sightings import AgentEvents, Sightings, open_sightings

SECOND_US: Final = 1_000_000
LONGEST_US: Final = 31 * 24 * 60 * MINUTE_US
ROWS_AT_ONCE: Final = 10_000
"""Rows of history read at once, or few more."""
NOBODY: Final[Mapping[str, AgentSeen]] = MappingProxyType({})
BEAT: Final = 0.5
"""Seconds between two messages at most."""
SLICE: Final = 0.004
"""Seconds of work after which others get as long a time."""
ROWS_A_STEP: Final = 50


@dataclass(frozen=True, slots=True)
class BacktestLimits:
    """What bounds backtests."""

    at_once: int = 2
    """Backtests at a time."""
    names: int = 2_000
    """Instances of one backtest."""
    evaluations: int = 10_000_000
    """Instances times slots of one backtest."""
    fired: int = 1_000
    """Alerts that would have fired that are told one by one; the others are counted."""
    never_fired: int = 200
    """The same of those whose condition did not hold for long enough."""


class BacktestStore(AgentEvents, Protocol):
    """What history has. Everything raises Unavailable."""

    async def extent(self) -> Extent | None:
        """What there is of the fleet; None when nothing was stored yet."""
        ...

    async def names(self, dimension: Dimension, limit: int) -> Sequence[str]:
        """The names of a dimension, up to `limit`."""
        ...

    async def pieces(
        self, unit_us: int, dimension: Dimension, names: Sequence[str], start: int, end: int
    ) -> Sequence[BucketRow]:
        """Buckets or minutes of these series from `start` to before `end`, in no order; of several shards there are
        several of a series with the same start."""
        ...


class Progress(NamedTuple):
    """How far it is."""

    share: float
    time_us: int


class Source(NamedTuple):
    """What the span that begins here is judged by."""

    start_us: int
    end_us: int
    step_us: int


class Summary(NamedTuple):
    """All in all."""

    fired: int
    instances: int
    firing_us: int
    evaluations: int
    caveats: Sequence[str]


Update = Progress | Source | WouldBe | Line | Summary


@dataclass(slots=True)
class _Job:
    """One backtest under way."""

    rule: Rule
    names: Sequence[str]
    plan: Sequence[Phase]
    test: Backtest
    sightings: Sightings | None
    replay: Replay
    latency: bool
    """Whether the rule looks at durations."""
    limits: BacktestLimits
    time_us: int
    judged: int = 0
    """Slots that are behind us."""
    told: list[int] = field(default_factory=lambda: [0, 0])
    """Alerts that were told: those that never fired, and those that did."""
    untold: list[int] = field(default_factory=lambda: [0, 0])
    covered: int = 0

    @property
    def slots(self) -> int:
        return sum(phase.slots for phase in self.plan)

    @property
    def progress(self) -> Progress:
        return Progress(min(1.0, self.judged / max(1, self.slots)), self.time_us)

    def alerts(self) -> Iterable[WouldBe]:
        """Those that are over since the last look, as far as they are told one by one."""
        ended, self.test.ended = self.test.ended, []
        for alert in ended:
            fired = alert.fire_us is not None
            most = self.limits.fired if fired else self.limits.never_fired
            if self.told[fired] >= most:
                self.untold[fired] += 1
            else:
                self.told[fired] += 1
                yield alert


class Backtests:
    """`run` one; on any replica."""

    def __init__(
        self,
        store: BacktestStore,
        clock: Clock,
        *,
        configured: Callable[[], PlatformConfig] = PlatformConfig,
        limits: BacktestLimits = BacktestLimits(),
    ) -> None:
        self._store = store
        self._clock = clock
        self._configured = configured
        self._limits = limits
        self._running = 0
        self._turn = asyncio.Lock()

    async def run(self, rule: Rule, start_us: int, end_us: int | None) -> AsyncGenerator[Update]:
        """What the rule would have done from `start_us` on, until now where no end is given. Raises Busy,
        InvalidArgument, LimitExceeded and Unavailable; close it to end it."""
        end_us = self._clock.now_us() if end_us is None else end_us
        if start_us >= end_us:
            raise InvalidArgument("start_time", "must be before end_time")
        if end_us - start_us > LONGEST_US:
            raise InvalidArgument("start_time", "is more than 31 days before end_time")
        with self._admitted():
            job, extent = await self._prepared(rule, start_us, end_us)
            yield Progress(0.0, start_us)
            for phase in job.plan:
                if phase.slots:
                    yield Source(*phase.judged_us, phase.unit_us)
                async with aclosing(_beating(self._replayed(job, phase), job)) as updates:
                    async for update in updates:
                        yield update
            await self._paced(job.test.close(job.plan[-1].end * job.plan[-1].unit_us))
            for alert in job.alerts():
                yield alert
            for line in job.test.lines():
                yield line
            yield _summary(job, Facts(start_us, end_us, extent, job.plan, tuple(job.untold)))

    @contextmanager
    def _admitted(self) -> Generator[None]:
        if self._running >= self._limits.at_once:
            raise Busy("backtests", self._limits.at_once)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _prepared(self, rule: Rule, start_us: int, end_us: int) -> tuple[_Job, Extent]:
        extent = await self._store.extent()
        if extent is None:
            raise Unavailable("snapshot", "the log has not been read yet; try again in a moment")
        needs, offline_after_us = needs_of(rule), self._configured().agent_offline_after_us
        plan = phases(max(start_us, extent.begin_us), end_us, extent, needs.longest_us)
        slots = sum(phase.slots for phase in plan)
        if not slots:
            raise InvalidArgument("start_time", nothing_stored(extent))
        names = await self._names(rule)
        most = self._limits.evaluations
        if (size := max(1, len(names)) * slots) > most:
            raise LimitExceeded("evaluations of one backtest", most, size)
        sightings = None
        if any(each.metric == AlertMetric.AGENT_SILENCE for each in rule.thresholds):
            silence = max(each.threshold for each in rule.thresholds if _silent(each.metric))
            before_us = min(round(silence * SECOND_US), AGENT_MEMORY_US) + offline_after_us
            sightings = await open_sightings(self._store, start_us, end_us, before_us)
        # How many agents there will be is not known yet.
        agents = 0 if sightings is None else self._limits.names
        test = Backtest(
            rule,
            offline_after_us=offline_after_us,
            slots=slots,
            names=max(len(names), agents),
        )
        replay = Replay(needs)
        job = _Job(
            rule=rule,
            names=names,
            plan=plan,
            test=test,
            sightings=sightings,
            replay=replay,
            latency=needs.latency,
            limits=self._limits,
            time_us=start_us,
        )
        return job, extent

    async def _names(self, rule: Rule) -> Sequence[str]:
        """The series that at least one comparison looks at."""
        dimension = rule.dimension
        if dimension == Dimension.FLEET:
            return ()
        if all(_silent(e.metric) or e.dimension == Dimension.FLEET for e in rule.thresholds):
            return ()
        most = self._limits.names
        found = await self._store.names(dimension, 10 * most)
        label = LABEL_OF[dimension]
        own = [each.matchers for each in rule.thresholds if each.dimension == dimension]
        names = [
            name
            for name in found
            if dimension == Dimension.AGENT or any(all_match(m, {label: name}) for m in own)
        ]
        if len(names) > most:
            raise LimitExceeded("instances of one backtest", most, len(names))
        return names

    async def _replayed(self, job: _Job, phase: Phase) -> None:
        job.replay.restart_windows()
        at_once = max(1, ROWS_AT_ONCE // (len(job.names) + 1))
        for begin in range(phase.begin, phase.end, at_once):
            end = min(begin + at_once, phase.end)
            rows = await self._read(job, phase, begin, end)
            if job.sightings is not None:
                await job.sightings.read_until(end * phase.unit_us)
            await self._paced(_slots(job, phase, range(begin, end), rows))

    async def _read(self, job: _Job, phase: Phase, begin: int, end: int) -> list[BucketRow]:
        read, unit_us = self._store.pieces, phase.unit_us
        rows = [*await read(unit_us, Dimension.FLEET, ("",), begin, end)]
        if job.names:
            rows += await read(unit_us, job.rule.dimension, job.names, begin, end)
        return rows

    async def _paced(self, steps: Iterator[None]) -> None:
        """Runs steps to their end, one backtest after another, and rests as long as it worked."""
        over = False
        while not over:
            async with self._turn:
                begun = self._clock.monotonic()
                while not over and self._clock.monotonic() - begun < SLICE:
                    over = next(steps, self) is self
                # What the machine took from us meanwhile is no work of ours.
                await self._clock.sleep(min(self._clock.monotonic() - begun, SLICE))


def _silent(metric: AlertMetric) -> bool:
    return metric == AlertMetric.AGENT_SILENCE


def _slots(job: _Job, phase: Phase, starts: range, rows: Sequence[BucketRow]) -> Generator[None]:
    """Judges the slots of some pieces, a step each."""
    pieces: defaultdict[int, list[Piece]] = defaultdict(list)
    covered: set[int] = set()
    read = unpack if job.latency else unpack_counts
    for place, row in enumerate(rows):
        cell, gauges = read(row)
        pieces[row.start].append(Piece((Dimension(row.dimension), row.name), cell, gauges))
        if gauges is not None and row.dimension == Dimension.FLEET:
            covered.add(row.start)
        if not place % ROWS_A_STEP:
            yield
    for start in starts:
        ts_us = (start + 1) * phase.unit_us
        is_covered = start in covered
        if is_covered or start in pieces:
            covered_us = phase.unit_us if is_covered else 0
            job.replay.take(ts_us, pieces.get(start, ()), covered_us)
        if is_covered:
            yield from _judge(job, phase, ts_us)
        if ts_us > phase.after_us:
            job.judged += 1
            job.time_us = ts_us
        if not start % 60:
            job.replay.forget(ts_us)
        yield


def _judge(job: _Job, phase: Phase, ts_us: int) -> Iterator[None]:
    if ts_us <= phase.after_us:
        job.test.listen(ts_us, phase.unit_us)
        return
    agents = NOBODY if job.sightings is None else job.sightings.at(ts_us)
    job.covered += 1
    snapshot = job.replay.snapshot(ts_us, agents)
    yield
    yield from job.test.slot(snapshot, ts_us, phase.unit_us)
    _check_size(job)


def _check_size(job: _Job) -> None:
    """How many agents there are is known only once they were heard. Raises LimitExceeded."""
    limits, test = job.limits, job.test
    if len(test.names) > limits.names:
        raise LimitExceeded("instances of one backtest", limits.names, len(test.names))
    if test.tally.evaluations > limits.evaluations:
        said = "evaluations of one backtest"
        raise LimitExceeded(said, limits.evaluations, test.tally.evaluations)


async def _beating(work: Awaitable[None], job: _Job) -> AsyncGenerator[Update]:
    """What comes of the work while it goes on, and how far it is at least every half second."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=BEAT)
            for alert in job.alerts():
                yield alert
            yield job.progress
        task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _summary(job: _Job, facts: Facts) -> Summary:
    tally = job.test.tally
    said = caveats(job.rule, tally, facts, covered=job.covered)
    if job.sightings is not None:
        said = [*said, *job.sightings.caveats()]
    return Summary(tally.fired, len(job.test.names), tally.firing_us, tally.evaluations, said)
