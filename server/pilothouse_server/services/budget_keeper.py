"""Holds runs and types to their budgets: says when a ceiling comes near and when it is reached, and asks for pauses.

A duty of one replica, with nothing to remember but what is in the database: whoever leads looks once at every run that
has not ended, and from then on at what changed, and at runs as they come to the age at which a ceiling on time is
near. What was told and asked is a row, written with it, so it is done once whoever does it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain.budgets import (
    Budget,
    BudgetState,
    Finding,
    Scope,
    Used,
    figures,
    share_of,
    state_of,
)
from pilothouse_server.domain.commands import Deadlines
from pilothouse_server.domain.errors import Unavailable
from pilothouse_server.domain.workflows import ENDED, WorkflowState
from pilothouse_server.ports import Clock
from pilothouse_server.services.configuration import Configured
from pilothouse_server.services.control import ControlSignals

LOOK: Final = 1.0
"""Seconds between two looks."""
READ: Final = 1_000
"""Runs in one read."""
SETTLED: Final = 200
"""Findings in one transaction."""
MOST_TRIES: Final = 6
"""Times that a pause is asked for which is refused for the moment, or fails."""
FIRST_RETRY_US: Final = 5_000_000
"""Until it is looked at again, doubled each time."""
AWAY_US: Final = 30_000_000
"""Between two looks whether an engine that took no pause is there again."""
FRESH_US: Final = 600_000_000
"""How long after its end a run is still held against a budget."""
HOUR_US: Final = 3600 * 1_000_000
KEPT_US: Final = 32 * 24 * HOUR_US
"""How long usage by type is kept; what is older is removed once an hour."""

PAUSABLE = (WorkflowState.QUEUED, WorkflowState.RUNNING, WorkflowState.WAITING)


class Run(NamedTuple):
    """A run as far as budgets are concerned."""

    id: str
    type: str
    state: WorkflowState
    attempt: int
    create_us: int
    start_us: int | None
    end_us: int | None
    tokens: int
    cost_micros: int
    revision: int

    def used(self, now_us: int) -> Used:
        """What it used until now."""
        elapsed: int | None = None
        if self.start_us is not None:
            until = self.end_us if self.state in ENDED and self.end_us is not None else now_us
            elapsed = max(0, until - self.start_us)
        return Used(self.tokens, self.cost_micros, elapsed)


class Place(NamedTuple):
    """How far a look at every run has come."""

    state: int = 0
    create_us: int = -1
    id: str = ""


class RunPage(NamedTuple):
    """Some runs, and where the next ones begin; None: there are no more."""

    runs: Sequence[Run]
    after: Place | None


class Due(NamedTuple):
    """A pause of which it is time to look what came of it."""

    budget_id: str
    workflow_id: str


class KeeperStore(Protocol):
    """What budgets are held against, and where it is written what came of that."""

    async def in_force(self) -> Sequence[Budget]: ...

    async def newest_revision(self) -> int: ...

    async def live(self, after: Place, limit: int) -> RunPage:
        """Runs that have not ended."""
        ...

    async def changed(self, mark: int, limit: int) -> Sequence[Run]:
        """Runs that changed since, in the order of their revisions."""
        ...

    async def begun(self, after_us: int, until_us: int, limit: int) -> Sequence[Run]:
        """Runs that were started within that time, the earliest first."""
        ...

    async def windows(self, budgets: Sequence[Budget], now_us: int) -> Mapping[str, Used]:
        """What is used within the window of each, by its id."""
        ...

    async def stands(self, budget_ids: Sequence[str]) -> Mapping[str, BudgetState]:
        """What was last told of whole types, under the version in force."""
        ...

    async def settle(self, findings: Sequence[Finding], now_us: int, deadlines: Deadlines) -> int:
        """Tells what crossed a ceiling and asks for pauses that were not asked for; returns how much that was."""
        ...

    async def follow_up(self, now_us: int, limit: int, deadlines: Deadlines) -> int:
        """Looks what came of pauses that were asked for, and asks again where nothing did; returns how many."""
        ...

    async def prune(self, before_us: int) -> None:
        """Removes usage from before, and what was told of runs that are gone."""
        ...


class BudgetKeeper:
    """`waiting_for` tells what it retries, "" when all is well."""

    def __init__(
        self,
        store: KeeperStore,
        clock: Clock,
        signals: ControlSignals,
        configured: Configured,
    ) -> None:
        self._store = store
        self._clock = clock
        self._signals = signals
        self._configured = configured
        self._known: frozenset[tuple[str, int]] = frozenset()
        """The budgets of the last look, and their versions."""
        self._exceeded: frozenset[tuple[str, int]] = frozenset()
        """Those of scope TYPE that pause what runs, as of the last look."""
        self._mark = 0
        self._edges: dict[tuple[str, float], int] = {}
        """For each ceiling on time and each level of it, up to which start runs were held against it."""
        self._pruned_us = 0
        self.waiting_for = ""

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            try:
                await self.look()
                self.waiting_for = ""
            except Unavailable as error:
                self.waiting_for = error.message
                # What was read and not settled is looked for again.
                self._known = frozenset()
            await self._clock.sleep(LOOK)

    async def look(self) -> int:
        """Holds everything against the budgets; returns how much was told and asked for."""
        now_us = self._clock.now_us()
        if now_us - self._pruned_us >= HOUR_US:
            await self._store.prune(now_us - KEPT_US)
            self._pruned_us = now_us
        budgets = await self._store.in_force()
        if not budgets:
            self._known = self._exceeded = frozenset()
            return 0
        done, exceeded = await self._look_at_types(budgets, now_us)
        pausing = frozenset((each.id, each.version) for each in exceeded)
        known = frozenset((each.id, each.version) for each in budgets)
        over = [*(each for each in budgets if each.scope == Scope.RUN), *exceeded]
        if known <= self._known and pausing <= self._exceeded:
            done += await self._look_at_changes(over, now_us)
        else:
            done += await self._look_at_all(over, now_us)
        self._known, self._exceeded = known, pausing
        done += await self._store.follow_up(now_us, SETTLED, self._deadlines)
        if done:
            self._signals.notify()
        return done

    @property
    def _deadlines(self) -> Deadlines:
        return Deadlines.of(self._configured())

    async def _look_at_types(
        self, budgets: Sequence[Budget], now_us: int
    ) -> tuple[int, list[Budget]]:
        """Also returns the budgets that are used up and pause what runs."""
        of_types = [each for each in budgets if each.scope == Scope.TYPE]
        if not of_types:
            return 0, []
        windows = await self._store.windows(of_types, now_us)
        told = await self._store.stands([each.id for each in of_types])
        findings: list[Finding] = []
        exceeded: list[Budget] = []
        for budget in of_types:
            used = windows.get(budget.id, Used())
            share = share_of(budget.ceilings, used)
            state = state_of(budget, share)
            if state == BudgetState.EXCEEDED and budget.pause:
                exceeded.append(budget)
            if state != told.get(budget.id, BudgetState.WITHIN):
                words = figures(budget, used)
                kind = budget.workflow_type
                findings.append(Finding(budget, "", kind, 0, state, share, used, words=words))
        return await self._settle(findings, now_us), exceeded

    async def _look_at_all(self, budgets: Sequence[Budget], now_us: int) -> int:
        """At every run that has not ended, and from here on at what changes."""
        self._mark = await self._store.newest_revision()
        self._edges = {
            (budget.id, level): now_us - age for budget in budgets for level, age in _ages(budget)
        }
        done, place = 0, Place()
        while True:
            page = await self._store.live(place, READ)
            done += await self._settle(_found(budgets, page.runs, now_us), now_us)
            if page.after is None:
                return done
            place = page.after

    async def _look_at_changes(self, budgets: Sequence[Budget], now_us: int) -> int:
        done = 0
        while runs := await self._store.changed(self._mark, READ):
            done += await self._settle(_found(budgets, runs, now_us), now_us)
            self._mark = runs[-1].revision
            if len(runs) < READ:
                break
        for budget in budgets:
            for level, age in _ages(budget):
                done += await self._look_at_age(budget, level, now_us - age, now_us)
        return done

    async def _look_at_age(self, budget: Budget, level: float, until_us: int, now_us: int) -> int:
        """At the runs that came to this age since the last look."""
        done, key = 0, (budget.id, level)
        after_us = self._edges.get(key, until_us)
        while after_us < until_us:
            runs = await self._store.begun(after_us, until_us, READ)
            done += await self._settle(_found([budget], runs, now_us), now_us)
            last = runs[-1].start_us if len(runs) == READ else until_us
            # A thousand runs of one microsecond would be looked at for ever.
            after_us = max(last or until_us, after_us + 1)
        self._edges[key] = max(after_us, until_us)
        return done

    async def _settle(self, findings: Sequence[Finding], now_us: int) -> int:
        done = 0
        for start in range(0, len(findings), SETTLED):
            some = findings[start : start + SETTLED]
            done += await self._store.settle(some, now_us, self._deadlines)
        return done


def _ages(budget: Budget) -> Iterable[tuple[float, int]]:
    """The levels of its ceiling on time, and the ages at which runs come to them."""
    ceiling = budget.ceilings.duration_us
    if budget.scope == Scope.RUN and ceiling is not None:
        for level in (budget.warn_share, 1.0):
            yield level, math.ceil(ceiling * level)


def _found(budgets: Sequence[Budget], runs: Sequence[Run], now_us: int) -> list[Finding]:
    """The runs that are near a ceiling or over it, and those of types that are."""
    found: list[Finding] = []
    for run in runs:
        if run.state in ENDED and (run.end_us or 0) < now_us - FRESH_US:
            continue
        used = run.used(now_us)
        for budget in budgets:
            if not budget.counts(run.id, run.type):
                continue
            finding = _held(budget, run, used)
            if finding is not None:
                found.append(finding)
    return found


def _held(budget: Budget, run: Run, used: Used) -> Finding | None:
    pausable = run.state in PAUSABLE
    if budget.scope == Scope.TYPE:
        # It is used up, by all runs together.
        if not pausable:
            return None
        words = f"the runs of {_of(budget)} used up what they may together"
        state, share = BudgetState.EXCEEDED, 1.0
        return Finding(
            budget, run.id, run.type, run.attempt, state, share, used, False, True, words
        )
    share = share_of(budget.ceilings, used)
    state = state_of(budget, share)
    if state == BudgetState.WITHIN:
        return None
    pause = budget.pause and pausable and state == BudgetState.EXCEEDED
    words = figures(budget, used)
    return Finding(budget, run.id, run.type, run.attempt, state, share, used, True, pause, words)


def _of(budget: Budget) -> str:
    return f"type {budget.workflow_type}" if budget.workflow_type else "all types"
