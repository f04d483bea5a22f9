"""Many runs of one type together: how long each stage is on their critical paths.

A run in which a stage is not on the critical path counts as 0 for it. Percentiles are exact, by nearest rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from pilothouse_server.domain.traces.model import TimeKind

N = TypeVar("N", int, float)

MAX_STAGES: Final = 200
"""Stages that are told of."""
TRACKED_STAGES: Final = 2_000
"""Names of stages that are told apart; the rest is `OTHER`."""
OTHER: Final = "__other__"


class Spread(NamedTuple):
    """In microseconds."""

    p50: int
    p95: int


class StageShare(NamedTuple):
    """One stage on the critical paths; shares of the whole, 0 to 1."""

    stage: str
    critical: Spread
    share_p50: float
    share_p95: float
    runs: int
    """In which it is on it."""


@dataclass(frozen=True, slots=True)
class Together:
    """`duration` is None without runs; `split` in microseconds, over all runs."""

    runs: int
    failed: int
    duration: Spread | None
    stages: Sequence[StageShare]
    split: Mapping[TimeKind, int]


@dataclass(slots=True)
class Aggregate:
    """Takes in runs, in any order."""

    durations: list[int] = field(default_factory=list[int])
    failed: int = 0
    critical: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    shares: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    split: dict[TimeKind, int] = field(default_factory=dict[TimeKind, int])

    def add(self, duration_us: int, critical: Mapping[str, int]) -> None:
        """One run, and for each stage how long it was on its critical path."""
        self.durations.append(duration_us)
        known, shares, whole = self.critical, self.shares, duration_us or 1
        for stage, us in critical.items():
            times = known.get(stage)
            if times is None:
                name = stage if len(known) < TRACKED_STAGES else OTHER
                times = known.setdefault(name, [])
                shares.setdefault(name, [])
                shares[name].append(us / whole)
            else:
                shares[stage].append(us / whole)
            times.append(us)

    def take(self, other: Aggregate) -> None:
        """All that another one took in."""
        self.durations += other.durations
        self.failed += other.failed
        for stage, times in other.critical.items():
            name = stage if stage in self.critical or len(self.critical) < TRACKED_STAGES else OTHER
            self.critical.setdefault(name, []).extend(times)
            self.shares.setdefault(name, []).extend(other.shares[stage])
        for kind, us in other.split.items():
            self.split[kind] = self.split.get(kind, 0) + us

    def together(self) -> Together:
        """What they are, put together."""
        runs = len(self.durations)
        spread = None
        if runs:
            ordered = sorted(self.durations)
            spread = Spread(_rank(ordered, 0.5, runs), _rank(ordered, 0.95, runs))
        stages = [self._stage(stage, runs) for stage in self.critical]
        stages.sort(key=lambda each: (-each.share_p50, -each.share_p95, each.stage))
        return Together(runs, self.failed, spread, stages[:MAX_STAGES], self.split)

    def _stage(self, stage: str, runs: int) -> StageShare:
        times, shares = sorted(self.critical[stage]), sorted(self.shares[stage])
        critical = Spread(_rank(times, 0.5, runs), _rank(times, 0.95, runs))
        p50, p95 = (_rank(shares, part, runs) for part in (0.5, 0.95))
        return StageShare(stage, critical, p50, p95, len(times))


def _rank(ordered: Sequence[N], part: float, runs: int) -> N:
    """The value of that rank among so many runs; those that are not in the list are 0 and come first."""
    at = math.ceil(part * runs) - 1 - (runs - len(ordered))
    return ordered[at] if at >= 0 else ordered[0] - ordered[0]
