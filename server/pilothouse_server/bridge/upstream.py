"""One stream of the server, kept open: resumed by token after a break, opened anew when its history is gone.

A stream that says nothing for too long counts as broken, since a half-open connection looks the same from
here. Until a first backlog is whole there is nothing to resume, so a break in it starts it again.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from pilothouse.v1.agents_pb2 import WatchAgentsRequest, WatchAgentsResponse
from pilothouse.v1.alerts_pb2 import WatchAlertsRequest, WatchAlertsResponse
from pilothouse.v1.emergency_stops_pb2 import (
    WatchEmergencyStopsRequest,
    WatchEmergencyStopsResponse,
)
from pilothouse.v1.events_pb2 import WatchEventsRequest, WatchEventsResponse
from pilothouse.v1.metrics_pb2 import SubscribeMetricsRequest, SubscribeMetricsResponse
from pilothouse.v1.workflows_pb2 import WatchWorkflowsRequest, WatchWorkflowsResponse
from pilothouse_server.bridge.channel import Channel
from pilothouse_server.bridge.settings import BridgeSettings
from pilothouse_server.bridge.tally import Tally

START_AGAIN = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.NOT_FOUND}
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Which method feeds a channel, and how it is asked."""

    path: str
    request: Callable[[str], Message]
    """The request that goes on after a token, or begins when it is empty."""
    response_type: type[Message]
    fleet_only: bool = False
    """Of a snapshot, only the series of the fleet: with a thousand agents all of them are a megabyte of JSON."""


def sources(settings: BridgeSettings) -> dict[str, Source]:
    """The method behind each channel. Backlogs ask for one more than a snapshot holds, to know whether it is whole."""
    interval = Duration()
    interval.FromMilliseconds(round(settings.metrics_interval * 1000))
    workflows, events = (
        min(1000, settings.workflows_backlog + 1),
        min(1000, settings.events_backlog + 1),
    )

    def path(service: str, method: str) -> str:
        return f"/pilothouse.v1.{service}Service/{method}"

    return {
        "metrics:realtime": Source(
            path("Metrics", "SubscribeMetrics"),
            lambda _: SubscribeMetricsRequest(interval=interval),
            SubscribeMetricsResponse,
        ),
        "metrics:fleet": Source(
            path("Metrics", "SubscribeMetrics"),
            lambda _: SubscribeMetricsRequest(interval=interval),
            SubscribeMetricsResponse,
            fleet_only=True,
        ),
        "workflows:changes": Source(
            path("Workflow", "WatchWorkflows"),
            lambda token: WatchWorkflowsRequest(
                resume_token=token, backlog=0 if token else workflows
            ),
            WatchWorkflowsResponse,
        ),
        "agents:changes": Source(
            path("Agent", "WatchAgents"),
            lambda token: WatchAgentsRequest(resume_token=token),
            WatchAgentsResponse,
        ),
        "alerts:active": Source(
            path("Alert", "WatchAlerts"),
            lambda token: WatchAlertsRequest(resume_token=token),
            WatchAlertsResponse,
        ),
        "emergency:stops": Source(
            path("EmergencyStop", "WatchEmergencyStops"),
            lambda token: WatchEmergencyStopsRequest(resume_token=token),
            WatchEmergencyStopsResponse,
        ),
        "events:live": Source(
            path("Event", "WatchEvents"),
            lambda token: WatchEventsRequest(
                resume_token=token,
                backlog=0 if token else events,
                max_events_per_second=settings.events_per_second,
            ),
            WatchEventsResponse,
        ),
    }


class Upstream:
    """Feeds one channel. `woken` is called when there is something to flush, and when the connection comes or goes."""

    def __init__(
        self,
        channel: Channel,
        source: Source,
        *,
        rpc: grpc.aio.Channel,
        settings: BridgeSettings,
        tally: Tally,
        woken: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._source = source
        self._rpc = rpc
        self._settings = settings
        self._tally = tally
        self._woken = woken
        self._token = ""
        self._failures = 0
        self._spoke_at: float | None = None
        self.connected = False

    @property
    def age(self) -> float | None:
        """Seconds since the server last spoke; None when it never did."""
        return None if self._spoke_at is None else time.monotonic() - self._spoke_at

    async def run(self) -> None:
        """Keep the stream open until cancelled."""
        while True:
            try:
                await self._follow()
                why = "the server ended the stream"
            except grpc.aio.AioRpcError as error:
                why = f"{error.code().name}: {error.details()}"
                if error.code() in START_AGAIN and self._token:
                    self._start_again()
            except TimeoutError:
                why = f"nothing for {self._settings.upstream_silence:g} s"
            self._lost(why)
            await asyncio.sleep(self._wait())

    async def _follow(self) -> None:
        if not self._channel.ready:
            self._start_again()
        method: Any = self._rpc.unary_stream(
            self._source.path,
            request_serializer=_bytes,
            response_deserializer=self._source.response_type.FromString,
        )
        call = method(self._source.request(self._token), wait_for_ready=False)
        try:
            while True:
                async with asyncio.timeout(self._settings.upstream_silence):
                    response = await call.read()
                if response is grpc.aio.EOF:
                    return
                self._heard()
                self._take(response)
        finally:
            call.cancel()

    def _take(self, response: Any) -> None:
        if isinstance(response, SubscribeMetricsResponse):
            if self._source.fleet_only:
                del response.snapshot.series[1:]  # the fleet's is the first
            self._channel.put(response.snapshot)
            self._woken()
            return
        kind = response.WhichOneof("update")
        match kind:
            case "caught_up":
                self._channel.caught_up()
            case "reset":
                logger.warning("%s begins anew: %s", self._channel.name, response.reset.reason)
                self._channel.begin()
            case "batch":
                for event in response.batch.events:
                    self._channel.put(event)
            case "skipped":
                self._channel.skip(response.skipped.count)
            case "heartbeat" | None:
                pass
            case _:
                self._channel.put(getattr(response, kind))
        if response.resume_token:
            self._token = response.resume_token
        if kind != "heartbeat":
            self._woken()

    def _heard(self) -> None:
        self._spoke_at = time.monotonic()
        self._failures = 0
        if not self.connected:
            self.connected = True
            self._woken()

    def _lost(self, why: str) -> None:
        if self.connected:
            logger.warning("%s lost its stream: %s", self._channel.name, why)
        elif self._failures == 0:
            logger.info("%s has no stream yet: %s", self._channel.name, why)
        self._failures += 1
        self._tally.reconnects += 1
        if self.connected:
            self.connected = False
            self._woken()

    def _wait(self) -> float:
        """Doubling, and somewhere in the upper half of it, so that many bridges do not come back at once."""
        longest: float = min(
            self._settings.backoff_max,
            self._settings.backoff_initial * 2 ** min(self._failures - 1, 16),
        )
        spread: float = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        return longest * spread

    def _start_again(self) -> None:
        self._token = ""
        self._channel.begin()


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()
