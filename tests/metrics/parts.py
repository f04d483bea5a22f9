"""States of several shards made into one snapshot, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilothouse_server.domain.events import Signal
from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.limits import Limits
from pilothouse_server.domain.metrics.merged import Gathering, PartMerger
from pilothouse_server.domain.metrics.part import PartMaker, PartMoment, ShardPart
from pilothouse_server.domain.metrics.part_codec import PartDecoder, PartEncoder
from pilothouse_server.domain.metrics.snapshot import FiringAlerts, MetricsSnapshot
from pilothouse_server.domain.shards import shard_of
from tests.metrics.support import run


def split(signals: Iterable[Signal], shards: int) -> list[list[Signal]]:
    """As the log divides them."""
    parts: list[list[Signal]] = [[] for _ in range(shards)]
    for each in signals:
        parts[shard_of(each.workflow_id, each.agent_id, shards)].append(each)
    return parts


def part_of(
    state: MetricsState, shard: int, as_of_us: int, maker: PartMaker | None = None
) -> ShardPart:
    """What a shard that has caught up contributes at a moment, sent and received."""
    moment = PartMoment(as_of_us, f"c{shard}", 0, True, 100_000, None)
    part = run((maker or PartMaker(shard, 0)).steps(state, moment))
    return run(PartDecoder().steps(run(PartEncoder().steps(part))))


def gathering(parts: Sequence[ShardPart], *, shards: int = 0, now_us: int = 0) -> Gathering:
    """These parts, all that there is."""
    return Gathering(
        parts={part.shard: part for part in parts},
        shards=shards or len(parts),
        now_us=now_us or max(part.moment.as_of_us for part in parts),
        looked_since_us=max(part.moment.as_of_us for part in parts),
        not_before_us=0,
        tick_interval_us=100_000,
        firing=FiringAlerts(),
    )


def merged(
    states: Sequence[MetricsState], as_of_us: int, limits: Limits | None = None
) -> MetricsSnapshot:
    """The snapshot of all shards at a moment."""
    parts = [part_of(state, shard, as_of_us) for shard, state in enumerate(states)]
    return run(PartMerger("epoch", 0, limits).steps(gathering(parts)))
