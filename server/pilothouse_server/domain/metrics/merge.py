"""Joins the states of two shards into one. Exact, because a workflow is in one shard only: counts add, records
are disjoint, facts about agents are maxima.
"""

from __future__ import annotations

from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.series import Cell


def absorb(state: MetricsState, other: MetricsState) -> None:
    """Takes all that `other` knows into `state`. `other` must not be used after."""
    state.clock_us = max(state.clock_us, other.clock_us)
    firsts = [s.since_us for s in (state, other) if s.since_us]
    state.since_us = min(firsts, default=0)
    state.events += other.events
    state.workflows += other.workflows
    state.ends = [mine + theirs for mine, theirs in zip(state.ends, other.ends, strict=True)]
    state.late += other.late
    state.beyond_horizon += other.beyond_horizon
    state.future += other.future
    state.illegal_transitions += other.illegal_transitions
    state.undecodable += other.undecodable
    state.evicted += other.evicted + other.memory.evicted + other.tasks.evicted
    state.ledger.duplicates += other.ledger.duplicates
    state.ledger.skewed += other.ledger.skewed
    _absorb_series(state, other)
    _absorb_agents(state, other)
    _absorb_workflows(state, other)


def _absorb_series(state: MetricsState, other: MetricsState) -> None:
    for series in other.series:
        mine = (
            state.series.find(series.dimension, "")
            if not series.name
            else state.series.admit(series.dimension, series.name)
        )
        if mine is None:
            continue
        for index, packed in series.buckets().items():
            mine.cell(index).merge_packed(packed)
        for index, fresh in series.fresh.items():
            cell = mine.fresh.setdefault(index, Cell())
            cell.merge(fresh)
        mine.live = [one + two for one, two in zip(mine.live, series.live, strict=True)]


def _absorb_agents(state: MetricsState, other: MetricsState) -> None:
    for agent_id, tasks in other.agents.working.items():
        state.agents.work(agent_id, tasks)
    for agent in other.agents.by_id.values():
        state.agents.join(agent)


def _absorb_workflows(state: MetricsState, other: MetricsState) -> None:
    for group in (other.memory.in_flight, other.memory.ended):
        for workflow in group.values():
            workflow.series = state.homes(workflow.type)
    state.memory.absorb(other.memory)
    state.recent.restore([*state.recent.newest(), *other.recent.newest()])
