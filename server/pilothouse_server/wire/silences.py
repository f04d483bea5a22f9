"""Silences ⇄ the contract."""

from __future__ import annotations

from pilothouse.v1 import silences_pb2 as pb
from pilothouse_server.domain.alerts.silences import Draft, Recurrence, Span
from pilothouse_server.services.alerts.silencing import Preview, SilenceView
from pilothouse_server.wire.alerts import alert_to_proto
from pilothouse_server.wire.matchers import matcher_to_proto, matchers_from_proto
from pilothouse_server.wire.times import (
    duration,
    duration_us,
    optional_timestamp,
    timestamp,
    timestamp_us,
)


def draft_from_proto(message: pb.Silence) -> Draft:
    """What is asked for; what the server says of a silence is not looked at."""
    recurrence = None
    if message.HasField("recurrence"):
        recurs = message.recurrence
        recurrence = Recurrence(
            " ".join(recurs.cron.split()), recurs.time_zone, duration_us(recurs.duration)
        )
    return Draft(
        matchers=matchers_from_proto(message.matchers, "silence.matchers"),
        comment=message.comment,
        start_us=timestamp_us(message.start_time) if message.HasField("start_time") else None,
        end_us=timestamp_us(message.end_time) if message.HasField("end_time") else None,
        recurrence=recurrence,
        until_resolved=message.until_resolved,
    )


def silence_to_proto(view: SilenceView) -> pb.Silence:
    """The contract's message of a silence."""
    silence = view.silence
    recurrence = None
    if silence.recurrence is not None:
        recurrence = pb.Recurrence(
            cron=silence.recurrence.cron,
            time_zone=silence.recurrence.time_zone,
            duration=duration(silence.recurrence.duration_us),
        )
    return pb.Silence(
        id=silence.id,
        matchers=map(matcher_to_proto, silence.matchers),
        start_time=timestamp(silence.start_us),
        end_time=optional_timestamp(_ended(silence.end_us, silence.expire_us)),
        recurrence=recurrence,
        until_resolved=silence.until_resolved,
        comment=silence.comment,
        created_by=silence.created_by,
        create_time=timestamp(silence.create_us),
        update_time=timestamp(silence.update_us),
        state=pb.SilenceState.ValueType(view.state),
        silenced_count=view.silenced,
        next_start_time=optional_timestamp(view.next_start_us),
    )


def preview_to_proto(preview: Preview) -> pb.PreviewSilenceResponse:
    """The contract's message of what a silence would hide."""
    return pb.PreviewSilenceResponse(
        alerts=map(alert_to_proto, preview.alerts),
        alert_count=preview.live,
        recent_count=preview.recent,
        spans=map(_span, preview.spans),
    )


def _span(span: Span) -> pb.SilenceSpan:
    return pb.SilenceSpan(
        start_time=timestamp(span.start_us), end_time=optional_timestamp(span.end_us)
    )


def _ended(end_us: int | None, expire_us: int | None) -> int | None:
    """When it is over: when it was to be, or when it was ended before."""
    return min((us for us in (end_us, expire_us) if us is not None), default=None)
