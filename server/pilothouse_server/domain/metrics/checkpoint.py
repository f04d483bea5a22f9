"""What a state needs to be told after a restart: only what changed since the checkpoint before, as rows.

A checkpoint is consistent with one cursor, so the state must not change between the first and the last step of
`collect`. What can be computed from the rows (states of now, tasks in hand, window sums) is not stored.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pilothouse_server.domain.metrics.agents import Agent
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.gauges import GaugeTable
from pilothouse_server.domain.metrics.history import (
    MINUTE_BUCKETS,
    Gauges,
    last_seen,
    rolled_up,
)
from pilothouse_server.domain.metrics.limits import (
    AHEAD_US,
    BUCKET_US,
    BUCKETS,
    CLOSING_US,
    LATENESS_US,
)
from pilothouse_server.domain.metrics.memory import Tombstone
from pilothouse_server.domain.metrics.records import Workflow
from pilothouse_server.domain.metrics.series import EMPTY, PackedCell
from pilothouse_server.domain.metrics.snapshot import Dimension

Key = tuple[Dimension, str]


class WorkflowRow(NamedTuple):
    """One remembered workflow. `buried` tells that it is a tombstone."""

    workflow_id: str
    seq: int
    finished_us: int
    finished_seq: int
    buried: bool
    record: str


class AgentRow(NamedTuple):
    """One known agent."""

    agent_id: str
    record: str


class BucketRow(NamedTuple):
    """One bucket, or one minute, of one series; `start` is counted in buckets or minutes since the epoch."""

    dimension: int
    name: str
    start: int
    cell: str
    gauges: str


@dataclass(slots=True)
class Checkpoint:
    """What is to be written in one transaction."""

    cursor: str
    counters: str
    rolled: int = 0
    """The first minute that is not rolled up yet."""
    workflows: list[WorkflowRow] = field(default_factory=list[WorkflowRow])
    gone_workflows: list[str] = field(default_factory=list[str])
    agents: list[AgentRow] = field(default_factory=list[AgentRow])
    gone_agents: list[str] = field(default_factory=list[str])
    buckets: list[BucketRow] = field(default_factory=list[BucketRow])
    minutes: list[BucketRow] = field(default_factory=list[BucketRow])


def pack(cell: PackedCell, gauges: Gauges | None) -> tuple[str, str]:
    """The text of a row's cell and gauges."""
    return (
        json.dumps(cell, separators=(",", ":")) if cell != EMPTY else "",
        json.dumps(gauges, separators=(",", ":")) if gauges is not None else "",
    )


def unpack(row: BucketRow) -> tuple[PackedCell, Gauges | None]:
    """The opposite of `pack`."""
    gauges = Gauges(*json.loads(row.gauges)) if row.gauges else None
    if not row.cell:
        return EMPTY, gauges
    started, completed, failed, cancelled, durations = json.loads(row.cell)
    return (started, completed, failed, cancelled, tuple(durations)), gauges


def unpack_counts(row: BucketRow) -> tuple[PackedCell, Gauges | None]:
    """The same without the durations, for those who do not look at them: a fifth of the work."""
    gauges = Gauges(*json.loads(row.gauges)) if row.gauges else None
    if not row.cell:
        return EMPTY, gauges
    started, completed, failed, cancelled, _ = row.cell[1:].split(",", 4)
    return (int(started), int(completed), int(failed), int(cancelled), ()), gauges


def would_forget(state: MetricsState, rolled: int, to_us: int) -> bool:
    """Whether buckets that are not rolled up slide out of memory when the time goes on to `to_us` at once."""
    if not state.since_us:
        return False
    oldest = max(rolled * MINUTE_BUCKETS, (state.since_us - LATENESS_US) // BUCKET_US)
    return to_us // BUCKET_US - oldest >= BUCKETS - MINUTE_BUCKETS


def close_ahead(state: MetricsState, to_us: int) -> Generator[None, None, None]:
    """Before the time goes on to `to_us`: closes what is closed then, while all of it is still in memory, so that
    `collect` rolls it up. Yields after each series.
    """
    at = max(state.series.at, min(state.clock_us, to_us) // BUCKET_US)
    state.series.at = at
    closed = state.ledger.closed = max(state.ledger.closed, (to_us - CLOSING_US) // BUCKET_US)
    for series in state.series:
        series.settle(at)
        series.close(closed)
        yield


def collect(
    state: MetricsState, gauges: GaugeTable, cursor: str, rolled: int
) -> Generator[None, None, Checkpoint]:
    """Everything that changed since the last call, yielding after each row. `rolled` is the first minute not
    rolled up yet.
    """
    checkpoint = Checkpoint(cursor, "")
    memory = state.memory
    for workflow_id in memory.dirty:
        row = _workflow_row(state, workflow_id)
        if row is None:
            checkpoint.gone_workflows.append(workflow_id)
        else:
            checkpoint.workflows.append(row)
        yield
    for agent_id in state.agents.dirty:
        agent = state.agents.by_id.get(agent_id)
        if agent is None:
            checkpoint.gone_agents.append(agent_id)
        else:
            checkpoint.agents.append(AgentRow(agent_id, json.dumps(agent.dump())))
        yield
    yield from _collect_buckets(state, gauges, checkpoint)
    rolled_to = max(rolled, state.ledger.closed // MINUTE_BUCKETS)
    yield from _collect_minutes(state, gauges, checkpoint, range(rolled, rolled_to))
    clear_changes(state, gauges)
    checkpoint.rolled = rolled_to
    checkpoint.counters = json.dumps(_counters(state) | {"rolled": rolled_to})
    return checkpoint


def clear_changes(state: MetricsState, gauges: GaugeTable) -> None:
    """Everything was gathered, or is not to be. Only then: who stops half-way has lost nothing."""
    state.memory.dirty.clear()
    state.agents.dirty.clear()
    for series in state.series:
        series.unsaved.clear()
    gauges.unsaved.clear()


def _workflow_row(state: MetricsState, workflow_id: str) -> WorkflowRow | None:
    memory = state.memory
    tombstone = memory.tombstones.get(workflow_id)
    if tombstone is not None:
        return WorkflowRow(
            workflow_id, tombstone.seq, tombstone.finished_us, tombstone.finished_seq,
            True, tombstone.dumped,
        )  # fmt: skip
    known = memory.in_flight.get(workflow_id) or memory.ended.get(workflow_id)
    if known is None:
        return None
    return WorkflowRow(
        workflow_id, known.seq, known.finished_us, known.finished_seq, False, known.dump()
    )


def _collect_buckets(
    state: MetricsState, gauges: GaugeTable, checkpoint: Checkpoint
) -> Generator[None, None, None]:
    unsaved: dict[Key, set[int]] = {}
    for series in state.series:
        series.settle(state.series.at)
        if series.unsaved:
            unsaved[series.dimension, series.name] = set(series.unsaved)
    for key, indexes in gauges.unsaved.items():
        unsaved.setdefault(key, set()).update(indexes)
    for (dimension, name), indexes in unsaved.items():
        found = state.series.find(dimension, name)
        seen = gauges.of(dimension, name)
        for index in sorted(indexes):
            cell = found.packed(index) if found is not None else EMPTY
            checkpoint.buckets.append(
                BucketRow(dimension, name, index, *pack(cell, seen.get(index)))
            )
        yield


def _collect_minutes(
    state: MetricsState, gauges: GaugeTable, checkpoint: Checkpoint, minutes: range
) -> Generator[None, None, None]:
    if not minutes:
        return
    at = state.series.at
    oldest = (at - BUCKETS) // MINUTE_BUCKETS
    newest = (at + AHEAD_US // BUCKET_US) // MINUTE_BUCKETS
    known = range(max(minutes.start, oldest), min(minutes.stop, newest + 1))
    for series in list(state.series):
        seen = gauges.of(series.dimension, series.name)
        for minute in known:
            buckets = range(minute * MINUTE_BUCKETS, (minute + 1) * MINUTE_BUCKETS)
            cell = rolled_up(series.packed(index) for index in buckets)
            gauge = last_seen(seen, buckets)
            if cell != EMPTY or gauge is not None:
                checkpoint.minutes.append(
                    BucketRow(series.dimension, series.name, minute, *pack(cell, gauge))
                )
        yield


_SCALARS = (
    "clock_us", "since_us", "events", "workflows", "ends", "late", "beyond_horizon", "future",
    "illegal_transitions", "undecodable",
)  # fmt: skip


def _counters(state: MetricsState) -> dict[str, Any]:
    counters: dict[str, Any] = {name: getattr(state, name) for name in _SCALARS}
    return counters | {
        "evicted": state.counters().evicted,
        "duplicates": state.ledger.duplicates,
        "skewed": state.ledger.skewed,
        "closed": state.ledger.closed,
        "other_names": state.series.other_names,
        "refused": state.series.refused(),
        "recent": state.recent.newest(),
    }


def running_bucket(counters: str) -> int:
    """The bucket that was running, of what a checkpoint says of itself."""
    return _running(json.loads(counters))


def _running(counters: dict[str, Any]) -> int:
    """What was closed last tells: the clock of the fold stands still while nothing happens, and it may be ahead."""
    closed = int(counters["closed"])
    return (
        closed + CLOSING_US // BUCKET_US if closed > 0 else int(counters["clock_us"]) // BUCKET_US
    )


class Restorer:
    """Builds a state from what checkpoints stored. Give it all rows, in any order and any portions, then
    `finish`.
    """

    def __init__(self, state: MetricsState, gauges: GaugeTable, counters: str) -> None:
        self._state = state
        self._gauges = gauges
        self._counters: dict[str, Any] = json.loads(counters)
        self._open: list[Workflow] = []
        self._buckets: dict[Key, dict[int, PackedCell]] = {}
        for name in _SCALARS:
            setattr(state, name, self._counters[name])
        state.evicted = self._counters["evicted"]
        state.ledger.duplicates = self._counters["duplicates"]
        state.ledger.skewed = self._counters["skewed"]
        state.ledger.closed = self._counters["closed"]
        state.series.other_names = self._counters["other_names"]
        state.recent.restore(self._counters["recent"])

    @property
    def rolled(self) -> int:
        """The first minute that is not rolled up yet."""
        return int(self._counters["rolled"])

    @property
    def at(self) -> int:
        """The bucket that was running; memory is the hour before it."""
        return _running(self._counters)

    def workflow(self, row: WorkflowRow) -> None:
        """Takes a workflow."""
        if row.buried:
            self._state.memory.tombstones[row.workflow_id] = Tombstone(
                row.finished_us, row.finished_seq, row.seq, row.record
            )
            return
        workflow = Workflow(row.workflow_id)
        workflow.load(row.record)
        workflow.seq = row.seq
        workflow.finished_us, workflow.finished_seq = row.finished_us, row.finished_seq
        self._open.append(workflow)

    def agents(self, rows: Iterable[AgentRow]) -> None:
        """Takes agents."""
        for row in rows:
            self._state.agents.by_id[row.agent_id] = Agent.load(json.loads(row.record))

    def bucket(self, row: BucketRow) -> None:
        """Takes a bucket of the last hour."""
        cell, gauges = unpack(row)
        dimension = Dimension(row.dimension)
        if cell != EMPTY:
            self._buckets.setdefault((dimension, row.name), {})[row.start] = cell
        if gauges is not None:
            self._gauges.restore(dimension, row.name, row.start, gauges)

    def finish(self) -> None:
        """All rows were given."""
        state = self._state
        refused = {int(d): names for d, names in self._counters["refused"].items()}
        state.series.restore(refused, self._buckets, self.at)
        self._open.sort(key=lambda workflow: workflow.seq)
        for workflow in self._open:
            state.adopt(workflow)
        state.memory.restore_queues()
