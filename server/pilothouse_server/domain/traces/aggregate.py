"""Many runs of one type together: how long each stage is on their critical paths.

A run in which a stage is not on the critical path counts as 0 for it. Percentiles are exact, by nearest rank.
"""

from __future__ import annotations

from array import array
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


class Alike(NamedTuple):
    """Runs through the same stages, as columns: how long each took, and for each stage how long it was on their
    critical paths. `split` is over all of them, in microseconds."""

    durations: array[int]
    critical: Mapping[str, array[int]]
    split: Mapping[TimeKind, int]
    failed: bool

    @property
    def values(self) -> int:
        """How many numbers it holds of stages."""
        return len(self.durations) * len(self.critical)


def _none() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Aggregate:
    """Takes in runs, in any order."""

    durations: array[int] = field(default_factory=_none)
    failed: int = 0
    critical: dict[str, array[int]] = field(default_factory=dict[str, "array[int]"])
    shares: dict[str, array[float]] = field(default_factory=dict[str, "array[float]"])
    split: dict[TimeKind, int] = field(default_factory=dict[TimeKind, int])

    def add(self, runs: Alike) -> None:
        """Some more of them."""
        self.durations += runs.durations
        self.failed += len(runs.durations) if runs.failed else 0
        for kind, us in runs.split.items():
            self.split[kind] = self.split.get(kind, 0) + us
        wholes = [each or 1 for each in runs.durations]
        others: array[int] | None = None
        for stage, times in runs.critical.items():
            tracked = stage in self.critical or len(self.critical) < TRACKED_STAGES
            if tracked and stage != OTHER:
                self._note(stage, times, wholes)
            else:
                # One number for each run, however many of its stages are not told apart.
                others = times if others is None else array("q", map(int.__add__, others, times))
        if others is not None:
            self._note(OTHER, others, wholes)

    def _note(self, stage: str, times: array[int], wholes: Sequence[int]) -> None:
        known = self.critical.get(stage)
        if known is None:
            known = self.critical[stage] = array("q")
            self.shares[stage] = array("d")
        known += times
        self.shares[stage].extend(map(int.__truediv__, times, wholes))

    def together(self) -> Together:
        """What they are, put together."""
        runs = len(self.durations)
        spread = None
        if runs:
            ordered = sorted(self.durations)
            spread = Spread(_rank(ordered, 50, runs), _rank(ordered, 95, runs))
        stages = [self._stage(stage, runs) for stage in self.critical]
        stages.sort(key=lambda each: (-each.share_p50, -each.share_p95, each.stage))
        return Together(runs, self.failed, spread, stages[:MAX_STAGES], self.split)

    def _stage(self, stage: str, runs: int) -> StageShare:
        times, shares = sorted(self.critical[stage]), sorted(self.shares[stage])
        critical = Spread(_rank(times, 50, runs), _rank(times, 95, runs))
        p50, p95 = (_rank(shares, percent, runs) for percent in (50, 95))
        return StageShare(stage, critical, p50, p95, len(times))


def _rank(ordered: Sequence[N], percent: int, runs: int) -> N:
    """The value of that rank among so many runs; those that are not in the list are 0 and come first."""
    at = -(-percent * runs // 100) - 1 - (runs - len(ordered))
    return ordered[at] if at >= 0 else ordered[0] - ordered[0]
