"""What the bridge counts about itself, as plain numbers, and their form for Prometheus."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(slots=True)
class Tally:
    """Counters since the bridge started."""

    accepted: int = 0
    """WebSockets that were accepted."""
    refused: int = 0
    """WebSockets that were refused."""
    frames_sent: int = 0
    """Frames given to WebSockets."""
    bytes_sent: int = 0
    """Their bytes."""
    gaps: int = 0
    """Gaps told to clients."""
    errors: int = 0
    """Requests in error on WebSockets."""
    stalls: int = 0
    """WebSockets closed because they did not keep up."""
    reconnects: int = 0
    """Streams of the server that had to be opened again."""


@dataclass(frozen=True, slots=True)
class ChannelState:
    """One channel at one moment."""

    name: str
    followers: int
    sequence: int
    connected: bool
    age: float | None
    dropped: int


class TallyCollector(Collector):
    """Reads the numbers when Prometheus asks."""

    def __init__(
        self,
        tally: Tally,
        connections: Callable[[], int],
        channels: Callable[[], list[ChannelState]],
    ) -> None:
        self._tally = tally
        self._connections = connections
        self._channels = channels

    def collect(self) -> Iterator[Metric]:
        """All families."""
        tally = self._tally
        yield GaugeMetricFamily(
            "pilothouse_bridge_connections", "WebSockets open now", self._connections()
        )
        for name, text, value in (
            ("connections_accepted", "WebSockets accepted", tally.accepted),
            ("connections_refused", "WebSockets refused", tally.refused),
            ("frames_sent", "Frames given to WebSockets", tally.frames_sent),
            ("bytes_sent", "Bytes given to WebSockets", tally.bytes_sent),
            ("gaps", "Gaps told to clients", tally.gaps),
            ("request_errors", "Requests in error on WebSockets", tally.errors),
            ("stalled_closed", "WebSockets closed because they did not keep up", tally.stalls),
            ("upstream_reconnects", "Streams of the server opened again", tally.reconnects),
        ):
            yield CounterMetricFamily(f"pilothouse_bridge_{name}", text, value)
        yield from self._by_channel()

    def _by_channel(self) -> Iterator[Metric]:
        def gauge(name: str, text: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"pilothouse_bridge_channel_{name}", text, labels=["channel"])

        followers = gauge("followers", "WebSockets that follow the channel")
        sequence = gauge("sequence", "The last frame of the channel")
        connected = gauge("upstream_connected", "Whether the stream of the server is open")
        age = gauge("upstream_age_seconds", "Time since the server last spoke on it")
        dropped = gauge(
            "dropped", "Events left out because they came faster than they could be sent"
        )
        for state in self._channels():
            followers.add_metric([state.name], state.followers)
            sequence.add_metric([state.name], state.sequence)
            connected.add_metric([state.name], float(state.connected))
            dropped.add_metric([state.name], state.dropped)
            if state.age is not None:
                age.add_metric([state.name], state.age)
        yield from (followers, sequence, connected, age, dropped)
