"""What the readers of a log with one number of shards stored, divided among the readers of another number.

A workflow goes to the shard that its next events go to, and an agent likewise. What was counted is not told apart by
workflow, so all of it goes to shard 0: the sum over the shards stays what it was, and a shard that corrects what
another one counted has less than nothing there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pilothouse_server.domain.metrics.agents import Agent
from pilothouse_server.domain.metrics.checkpoint import (
    AgentRow,
    BucketRow,
    WorkflowRow,
    pack,
    unpack,
)
from pilothouse_server.domain.metrics.history import MINUTE_BUCKETS, last_seen, rolled_up
from pilothouse_server.domain.metrics.snapshot import OTHER
from pilothouse_server.domain.shards import shard_of

_SUMS = (
    "events", "workflows", "late", "beyond_horizon", "future", "illegal_transitions",
    "undecodable", "evicted", "duplicates", "skewed", "other_names",
)  # fmt: skip


class Counters(NamedTuple):
    """What the readers had counted, together."""

    first: str
    """For shard 0: all that was counted."""
    others: str
    """For each other shard: nothing, and what every reader has to know."""
    refused: Mapping[int, frozenset[str]]
    """The names that some shard counts among its others, by dimension."""
    rolled: int
    """The first minute that no shard has rolled up yet."""
    events: Sequence[int]
    """Events that each had read."""


def joined_counters(counters: Sequence[str]) -> Counters:
    """Those of the shards, in order; there is at least one."""
    known: list[dict[str, Any]] = [json.loads(each) for each in counters]
    refused: dict[str, dict[str, None]] = {}
    recent: dict[str, None] = {}
    for each in known:
        recent |= dict.fromkeys(each["recent"])
        for dimension, names in each["refused"].items():
            refused.setdefault(dimension, {}).update(dict.fromkeys(names))
    rolled = max(int(each["rolled"]) for each in known)
    shared: dict[str, Any] = {
        "clock_us": max(each["clock_us"] for each in known),
        "since_us": min((each["since_us"] for each in known if each["since_us"]), default=0),
        "closed": max(each["closed"] for each in known),
        "rolled": rolled,
        "refused": {dimension: list(names) for dimension, names in refused.items()},
        "recent": list(recent),
    }
    sums = {name: sum(each[name] for each in known) for name in _SUMS}
    ends = [sum(kinds) for kinds in zip(*(each["ends"] for each in known), strict=True)]
    nothing = dict.fromkeys(_SUMS, 0)
    return Counters(
        first=json.dumps(shared | sums | {"ends": ends}),
        others=json.dumps(shared | nothing | {"ends": [0] * len(ends)}),
        refused={int(dimension): frozenset(names) for dimension, names in refused.items()},
        rolled=rolled,
        events=[each["events"] for each in known],
    )


def rolled_of(counters: str) -> int:
    """The first minute that this reader has not rolled up."""
    return int(json.loads(counters)["rolled"])


def divided_workflows(
    rows: Iterable[tuple[int, WorkflowRow]], events: Sequence[int], shards: int
) -> dict[int, list[WorkflowRow]]:
    """The rows, each with the shard it came from, by the shard it goes to. They are numbered anew, below all events to
    come, so that what ended first is forgotten first."""
    found = sorted(rows, key=lambda row: (row[1].seq / max(events[row[0]], 1), row[1].workflow_id))
    by_end = sorted(
        (row for _, row in found if row.finished_us),
        key=lambda row: (row.finished_us, row.finished_seq, row.workflow_id),
    )
    ends = {row.workflow_id: place - len(by_end) for place, row in enumerate(by_end)}
    divided: dict[int, list[WorkflowRow]] = {}
    for place, (_, row) in enumerate(found):
        new = row._replace(
            seq=place - len(found), finished_seq=ends.get(row.workflow_id, row.finished_seq)
        )
        divided.setdefault(shard_of(row.workflow_id, "", shards), []).append(new)
    return divided


def divided_agents(rows: Iterable[AgentRow], shards: int) -> dict[int, list[AgentRow]]:
    """What all shards knew of each agent, by the shard it goes to."""
    known: dict[str, Agent] = {}
    for row in rows:
        agent = Agent.load(json.loads(row.record))
        if row.agent_id in known:
            known[row.agent_id].join(agent)
        else:
            known[row.agent_id] = agent
    divided: dict[int, list[AgentRow]] = {}
    for agent_id, agent in sorted(known.items()):
        row = AgentRow(agent_id, json.dumps(agent.dump()))
        divided.setdefault(shard_of("", agent_id, shards), []).append(row)
    return divided


def added(rows: Iterable[BucketRow]) -> list[BucketRow]:
    """Rows of the same series and start made one: the cells added, the gauges those that there are."""
    groups: dict[tuple[int, str, int], list[BucketRow]] = {}
    for row in rows:
        groups.setdefault((row.dimension, row.name, row.start), []).append(row)
    return [_sum(same) if len(same) > 1 else same[0] for same in groups.values()]


def _sum(rows: Sequence[BucketRow]) -> BucketRow:
    unpacked = [unpack(row) for row in rows]
    gauges = next((gauges for _, gauges in unpacked if gauges is not None), None)
    cell, seen = pack(rolled_up(cell for cell, _ in unpacked), gauges)
    return rows[0]._replace(cell=cell, gauges=seen)


def under_its_name(row: BucketRow, refused: Mapping[int, frozenset[str]]) -> BucketRow:
    """A name that some shard counts among its others is counted there whole."""
    return row._replace(name=OTHER) if row.name in refused.get(row.dimension, ()) else row


def minutes_of(buckets: Iterable[BucketRow]) -> list[BucketRow]:
    """The rollups of some buckets of one shard."""
    groups: dict[tuple[int, str, int], list[BucketRow]] = {}
    for row in buckets:
        key = (row.dimension, row.name, row.start // MINUTE_BUCKETS)
        groups.setdefault(key, []).append(row)
    made: list[BucketRow] = []
    for (dimension, name, minute), rows in groups.items():
        cells = {row.start: unpack(row) for row in rows}
        seen = {start: gauges for start, (_, gauges) in cells.items() if gauges is not None}
        whole = range(minute * MINUTE_BUCKETS, (minute + 1) * MINUTE_BUCKETS)
        cell, gauges = pack(rolled_up(cell for cell, _ in cells.values()), last_seen(seen, whole))
        if cell or gauges:
            made.append(BucketRow(dimension, name, minute, cell, gauges))
    return made
