"""GET /api/v1/monitoring/metrics/realtime: the newest snapshot for those who have no WebSocket.

`{"snapshot": …, "age_seconds": 0.4, "ttl_seconds": 300, "throughput_per_minute": {"60": 12.0, …}}`: the
snapshot as in the metrics channel, its age by the bridge's clock, and the fleet's throughput per minute by
window in seconds, null where it is not known.
"""

import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from pilothouse.v1.metrics_pb2 import METRIC_DIMENSION_FLEET, MetricsSnapshot
from pilothouse_server.bridge.channel import Channel
from pilothouse_server.bridge.errors import BridgeError
from pilothouse_server.bridge.frames import dumps


class Realtime:
    """Serves the newest frame of the metrics channel."""

    def __init__(self, channel: Channel, ttl: float, wall: Callable[[], float] = time.time) -> None:
        self._channel = channel
        self._ttl = ttl
        self._wall = wall

    async def __call__(self, _: Request) -> Response:
        """Answer."""
        frame = self._channel.newest
        if frame is None:
            return _refused("there is no snapshot yet")
        snapshot = frame.live.metrics
        age = max(0.0, self._wall() - snapshot.as_of_time.ToNanoseconds() / 1e9)
        if age > self._ttl:
            return _refused(f"the newest snapshot is {age:.0f} s old")
        rest = {
            "age_seconds": round(age, 3),
            "ttl_seconds": self._ttl,
            "throughput_per_minute": throughput_per_minute(snapshot),
        }
        body = b'{"snapshot":%s,%s' % (frame.data_json(), dumps(rest)[1:])
        return Response(body, media_type="application/json", headers={"cache-control": "no-cache"})


def throughput_per_minute(snapshot: MetricsSnapshot) -> dict[str, float | None]:
    """Of the fleet, by window in seconds."""
    return {
        str(window.window.ToSeconds()): window.throughput * 60
        if window.HasField("throughput")
        else None
        for series in snapshot.series
        if series.dimension == METRIC_DIMENSION_FLEET
        for window in series.windows
    }


def _refused(text: str) -> Response:
    response = BridgeError("UNAVAILABLE", "NO_SNAPSHOT", text).response()
    response.headers["cache-control"] = "no-cache"
    return response
