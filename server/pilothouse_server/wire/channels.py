"""Channels ⇄ the contract. What is secret goes one way only."""

from __future__ import annotations

from typing import Final

from pilothouse.v1 import channels_pb2 as pb
from pilothouse.v1 import enums_pb2
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.events import Severity
from pilothouse_server.domain.notifications.channels import (
    GROUP_INTERVAL_US,
    MOST_ALERTS,
    RATE_PER_MINUTE,
    REPEAT_INTERVAL_US,
    Apprise,
    Channel,
    CloudEvents,
    Secrets,
    Target,
    Webhook,
)
from pilothouse_server.services.channels import ChannelHealth, ChannelView, Draft, Tested
from pilothouse_server.wire.matchers import matcher_to_proto, matchers_from_proto
from pilothouse_server.wire.times import (
    duration,
    duration_us,
    optional_duration,
    optional_timestamp,
    timestamp,
)

CHANGEABLE: Final = (
    "name", "enabled", "is_default", "webhook", "cloud_events", "apprise", "matchers", "min_severity", "group_by",
    "group_wait", "group_interval", "repeat_interval", "skip_resolved", "rate_limit_per_minute", "heartbeat_interval",
)  # fmt: skip
"""Fields of a channel that a caller may say; all else is the server's."""


def channel_to_proto(channel: Channel) -> pb.Channel:
    """The contract's message of a channel, with nothing that is secret."""
    message = pb.Channel(
        id=channel.id,
        name=channel.name,
        enabled=channel.enabled,
        is_default=channel.is_default,
        matchers=map(matcher_to_proto, channel.matchers),
        min_severity=enums_pb2.Severity.ValueType(channel.min_severity or 0),
        group_by=channel.group_by,
        group_wait=duration(channel.group_wait_us),
        group_interval=duration(channel.group_interval_us),
        repeat_interval=duration(channel.repeat_interval_us),
        skip_resolved=channel.skip_resolved,
        rate_limit_per_minute=channel.rate_per_minute,
        heartbeat_interval=optional_duration(channel.heartbeat_us),
        create_time=timestamp(channel.create_us),
        update_time=timestamp(channel.update_us),
        updated_by=channel.updated_by,
        etag=str(channel.version),
    )
    _put_target(message, channel.target)
    return message


def view_to_proto(view: ChannelView) -> pb.Channel:
    """The same with how it does."""
    message = channel_to_proto(view.channel)
    message.health.CopyFrom(_health_to_proto(view.health))
    return message


def tested_to_proto(tested: Tested) -> pb.TestChannelResponse:
    """What became of a test."""
    return pb.TestChannelResponse(
        delivered=tested.delivered,
        error=tested.error,
        duration=duration(tested.duration_us),
        status_code=tested.status_code or 0,
    )


def channel_from_proto(message: pb.Channel) -> Draft:
    """The channel that somebody wants, and what is secret of it. Raises InvalidArgument."""
    target, hidden = _target(message)
    channel = Channel(
        id=message.id,
        name=message.name,
        target=target,
        enabled=message.enabled if message.HasField("enabled") else True,
        is_default=message.is_default,
        matchers=matchers_from_proto(message.matchers, "channel.matchers"),
        min_severity=Severity(message.min_severity) if message.min_severity else None,
        group_by=tuple(message.group_by),
        group_wait_us=duration_us(message.group_wait),
        group_interval_us=duration_us(message.group_interval)
        if message.HasField("group_interval")
        else GROUP_INTERVAL_US,
        repeat_interval_us=duration_us(message.repeat_interval)
        if message.HasField("repeat_interval")
        else REPEAT_INTERVAL_US,
        skip_resolved=message.skip_resolved,
        rate_per_minute=message.rate_limit_per_minute or RATE_PER_MINUTE,
        heartbeat_us=duration_us(message.heartbeat_interval)
        if message.HasField("heartbeat_interval")
        else None,
    )
    return Draft(channel, hidden)


def _put_target(message: pb.Channel, target: Target) -> None:
    match target:
        case Webhook():
            shown = pb.WebhookChannel(
                url=target.url,
                headers=dict.fromkeys(target.headers, ""),
                max_alerts=target.max_alerts,
            )
            message.webhook.CopyFrom(shown)
        case CloudEvents():
            events = pb.CloudEventsChannel(
                url=target.url, headers=dict.fromkeys(target.headers, ""), source=target.source
            )
            message.cloud_events.CopyFrom(events)
        case Apprise():
            message.apprise.CopyFrom(pb.AppriseChannel(services=target.services))


def _target(message: pb.Channel) -> tuple[Target, Secrets]:
    match message.WhichOneof("target"):
        case "webhook":
            webhook = message.webhook
            hidden = Secrets(webhook.url, webhook.secret, dict(webhook.headers))
            return Webhook(webhook.url, max_alerts=webhook.max_alerts or MOST_ALERTS), hidden
        case "cloud_events":
            events = message.cloud_events
            hidden = Secrets(events.url, events.secret, dict(events.headers))
            return CloudEvents(events.url, source=events.source or "pilothouse"), hidden
        case "apprise":
            return Apprise(()), Secrets(urls=tuple(message.apprise.urls))
        case _:
            raise InvalidArgument("channel", "has to have one of webhook, cloud_events and apprise")


def _health_to_proto(health: ChannelHealth) -> pb.ChannelHealth:
    return pb.ChannelHealth(
        open=health.open,
        retry_time=optional_timestamp(health.retry_us),
        failures=health.failures,
        error=health.error,
        last_success_time=optional_timestamp(health.last_success_us),
        waiting=health.waiting,
        dead=health.dead,
    )
