"""Webhooks and CloudEvents as HTTP requests: what is said, how it is signed, and by what a repeat is known."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from pilothouse_server.domain.notifications import payloads
from pilothouse_server.domain.notifications.channels import Channel, CloudEvents, Secrets, Webhook
from pilothouse_server.domain.notifications.notification import Notification

ONE_EVENT = "application/cloudevents+json; charset=utf-8"
MORE_EVENTS = "application/cloudevents-batch+json; charset=utf-8"


class Request(NamedTuple):
    """What is posted."""

    url: str
    headers: Mapping[str, str]
    body: bytes


def request_of(
    channel: Channel,
    target: Webhook | CloudEvents,
    hidden: Secrets,
    notification: Notification,
    *,
    external_url: str,
    user_agent: str,
    now_us: int,
) -> Request:
    """The request of one try. Its body is the same in every try, its time and signature are not."""
    if isinstance(target, Webhook):
        content: object = payloads.webhook(
            notification,
            receiver=channel.name,
            external_url=external_url,
            max_alerts=target.max_alerts,
        )
        content_type = "application/json"
    else:
        events = payloads.cloud_events(
            notification, source=target.source, external_url=external_url
        )
        one = len(events) == 1
        content, content_type = (events[0], ONE_EVENT) if one else (events, MORE_EVENTS)
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    timestamp = str(now_us // 1_000_000)
    url = hidden.url or target.url
    headers = {
        "Content-Type": content_type,
        "User-Agent": user_agent,
        "Idempotency-Key": notification.id,
        "X-Pilothouse-Timestamp": timestamp,
    }
    if hidden.secret:
        headers["X-Pilothouse-Signature"] = payloads.signature(hidden.secret, timestamp, body)
    said = {name.lower() for name in hidden.headers}
    if "authorization" not in said and (basic := _basic(url)):
        headers["Authorization"] = basic
    return Request(url, headers | dict(hidden.headers), body)


def _basic(url: str) -> str:
    """User and password of a URL as a header."""
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return ""
    name, _, password = user.partition(":")
    both = f"{unquote(name)}:{unquote(password)}".encode()
    return f"Basic {base64.b64encode(both).decode()}"
