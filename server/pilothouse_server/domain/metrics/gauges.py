"""What was the case, as last seen in each bucket: states of workflows and numbers of agents, for history.

Sampled only while the reader has caught up with the log: what was the case while it had not is not known, and
history shows a gap.
"""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse_server.domain.metrics.history import Gauges
from pilothouse_server.domain.metrics.limits import BUCKET_US, BUCKETS
from pilothouse_server.domain.metrics.snapshot import Dimension, MetricsSnapshot

_NONE: Mapping[int, Gauges] = {}
_ZERO = Gauges(0, 0, 0, 0, 0)


class GaugeTable:
    """One hour of samples by series, numbered like the buckets."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[Dimension, str], dict[int, Gauges]] = {}
        self.unsaved: dict[tuple[Dimension, str], set[int]] = {}
        """Which samples changed since the last checkpoint."""
        self._bucket = -1

    def sample(self, snapshot: MetricsSnapshot) -> None:
        """Notes what a snapshot shows, in its bucket, unless its reader has not caught up."""
        if not snapshot.caught_up:
            return
        bucket = snapshot.as_of_us // BUCKET_US
        if bucket != self._bucket:
            self._bucket = bucket
            self._forget(snapshot, bucket - BUCKETS)
        missing = {key for key in self._by_key if key[1]}
        for key, series in snapshot.by_key.items():
            if series.states is None:
                continue
            missing.discard(key)
            if not key[1]:
                counts = snapshot.agents
                self._note(key, bucket, Gauges(*series.states, counts.online, counts.known))
            elif (gauges := Gauges(*series.states)) != _ZERO or key in self._by_key:
                self._note(key, bucket, gauges)
        for key in missing:
            self._note(key, bucket, _ZERO)

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

    def _forget(self, snapshot: MetricsSnapshot, horizon: int) -> None:
        """Drops the workflow types that are shown no more, and of which nothing was in flight for an hour."""
        for key, samples in list(self._by_key.items()):
            if key in snapshot.by_key:
                continue
            if not any(at > horizon and seen != _ZERO for at, seen in samples.items()):
                del self._by_key[key]
                self.unsaved.pop(key, None)
