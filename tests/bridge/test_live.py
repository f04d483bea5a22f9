"""The WebSocket: snapshots, changes, resuming, and what a client is told when something is wrong."""

from __future__ import annotations

from pilothouse.v1.metrics_pb2 import MetricsSnapshot
from tests.bridge.support import frame, staged, subscribe


async def test_a_subscriber_gets_the_newest_metrics_at_once_and_then_each_new_one() -> None:
    async with staged() as stage, stage.live() as socket:
        await stage.server.snapshots.add(MetricsSnapshot(sequence=7))
        assert (await subscribe(socket, "metrics:realtime"))["data"] == {
            "channels": ["metrics:realtime"]
        }
        first = await frame(socket, "metrics:update")
        assert first["channel"] == "metrics:realtime"
        assert first["data"]["sequence"] == "7"
        assert set(first) == {"type", "channel", "epoch", "sequence", "data", "timestamp"}
        await stage.server.snapshots.add(MetricsSnapshot(sequence=8))
        second = await frame(socket, "metrics:update")
        assert (second["epoch"], second["sequence"]) == (first["epoch"], first["sequence"] + 1)
