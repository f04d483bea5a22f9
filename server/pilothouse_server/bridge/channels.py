"""The channels that there are, with their classes and bounds."""

from typing import cast

from google.protobuf.message import Message

from pilothouse.v1.agents_pb2 import Agent
from pilothouse.v1.alerts_pb2 import ALERT_STATE_RESOLVED, Alert
from pilothouse.v1.emergency_stops_pb2 import EMERGENCY_STOP_STATE_RELEASED, EmergencyStop
from pilothouse.v1.enums_pb2 import (
    AGENT_STATE_OFFLINE,
    WORKFLOW_STATE_CANCELLED,
    WORKFLOW_STATE_COMPLETED,
    WORKFLOW_STATE_FAILED,
)
from pilothouse.v1.workflows_pb2 import Workflow
from pilothouse_server.bridge.channel import Channel, Kind, WallClock
from pilothouse_server.bridge.latest import KeyedLatest, Latest, NewestLatest
from pilothouse_server.bridge.settings import BridgeSettings

_ENDED = frozenset({WORKFLOW_STATE_COMPLETED, WORKFLOW_STATE_FAILED, WORKFLOW_STATE_CANCELLED})


def make_channels(settings: BridgeSettings, wall: WallClock) -> dict[str, Channel]:
    """All channels, by name."""
    workflows = KeyedLatest("workflows", settings.workflows_backlog, _id, _workflow_ended, _never)
    agents = KeyedLatest("agents", settings.agents_backlog, _id, _agent_offline, _never)
    alerts = KeyedLatest("alerts", settings.alerts_backlog, _id, _never, _alert_resolved)
    stops = KeyedLatest("emergency_stops", settings.stops_backlog, _id, _never, _stop_over)
    events = NewestLatest("events", settings.events_backlog)

    def channel(name: str, kind: Kind, item: str, latest: Latest | None) -> Channel:
        return Channel(
            name,
            kind,
            item,
            latest=latest,
            key=_id if kind is Kind.MUST else None,
            ring_frames=settings.ring_frames,
            ring_bytes=settings.ring_bytes,
            batch=settings.events_batch,
            pending=settings.events_pending,
            wall=wall,
        )

    channels = (
        channel("metrics:realtime", Kind.STATE, "metrics", None),
        channel("metrics:fleet", Kind.STATE, "metrics", None),
        channel("workflows:changes", Kind.MUST, "workflow", workflows),
        channel("agents:changes", Kind.MUST, "agent", agents),
        channel("alerts:active", Kind.MUST, "alert", alerts),
        channel("events:live", Kind.LOG, "events", events),
        channel("emergency:stops", Kind.MUST, "emergency_stop", stops),
    )
    return {one.name: one for one in channels}


def _id(message: Message) -> str:
    return cast("Workflow | Agent | Alert | EmergencyStop", message).id


def _never(_: Message) -> bool:
    return False


def _workflow_ended(message: Message) -> bool:
    return cast("Workflow", message).state in _ENDED


def _agent_offline(message: Message) -> bool:
    return cast("Agent", message).state == AGENT_STATE_OFFLINE


def _alert_resolved(message: Message) -> bool:
    return cast("Alert", message).state == ALERT_STATE_RESOLVED


def _stop_over(message: Message) -> bool:
    return cast("EmergencyStop", message).state == EMERGENCY_STOP_STATE_RELEASED
