"""What was the case, as last seen in each bucket: states of workflows and numbers of agents, for history.

Sampled only while the reader has caught up with the log: what was the case while it had not is not known, and
history shows a gap.
"""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse_server.domain.metrics.fold import MetricsState
from pilothouse_server.domain.metrics.history import Gauges
from pilothouse_server.domain.metrics.limits import BUCKETS
from pilothouse_server.domain.metrics.snapshot import AgentCounts, Dimension
from pilothouse_server.domain.metrics.summary import state_counts

_NONE: Mapping[int, Gauges] = {}
_ZERO = Gauges(0, 0, 0, 0, 0)


class GaugeTable:
    """One hour of samples by series, numbered like the buckets."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[Dimension, str], dict[int, Gauges]] = {}
        self.unsaved: dict[tuple[Dimension, str], set[int]] = {}
        """Which samples changed since the last checkpoint."""
        self._bucket = -1

    def sample(self, state: MetricsState, agents: AgentCounts, bucket: int) -> None:
        """Notes what is the case now, in the running bucket."""
        if bucket != self._bucket:
            self._bucket = bucket
            self._forget(state)
        fleet = state_counts(state.series.fleet.live)
        self._note((Dimension.FLEET, ""), bucket, Gauges(*fleet, agents.online, agents.known))
        for series in state.series.types.values():
            key = (Dimension.WORKFLOW_TYPE, series.name)
            counts = Gauges(*state_counts(series.live))
            if counts != _ZERO or key in self._by_key:
                self._note(key, bucket, counts)

    def _note(self, key: tuple[Dimension, str], bucket: int, gauges: Gauges) -> None:
        samples = self._by_key.setdefault(key, {})
        if samples.get(bucket) == gauges:
            return
        if bucket not in samples:
            for old in [index for index in samples if index <= bucket - BUCKETS]:
                del samples[old]
        samples[bucket] = gauges
        self.unsaved.setdefault(key, set()).add(bucket)

    def of(self, dimension: Dimension, name: str) -> Mapping[int, Gauges]:
        """The samples of one series by bucket."""
        return self._by_key.get((dimension, name), _NONE)

    def restore(self, dimension: Dimension, name: str, bucket: int, gauges: Gauges) -> None:
        """Takes over a stored sample."""
        self._by_key.setdefault((dimension, name), {})[bucket] = gauges

    def _forget(self, state: MetricsState) -> None:
        """Drops the samples of workflow types that have no series any more."""
        types = state.series.types
        for key in [key for key in self._by_key if key[1] and key[1] not in types]:
            del self._by_key[key]
            self.unsaved.pop(key, None)
