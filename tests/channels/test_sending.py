"""What a receiver of webhooks and CloudEvents gets, and what becomes of its answer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging

import pytest

from pilothouse_server.adapters.notifying.sealing import Sealer
from pilothouse_server.adapters.notifying.sender import Sender
from pilothouse_server.domain.notifications.channels import Channel, CloudEvents, Secrets, Webhook
from pilothouse_server.domain.notifications.receipts import DeliveryFailed
from tests.channels.build import (
    NOW_US,
    PATIENCE,
    SECOND,
    alert,
    apprise,
    events,
    notification,
    webhook,
)
from tests.channels.conftest import Certificate, Senders
from tests.channels.receiver import Receiver, listening


async def test_a_webhook_is_that_of_alertmanager(sender: Sender, receiver: Receiver) -> None:
    told = notification(alert(agent="a1"), alert(status="resolved", agent="a2"))

    receipt = await sender.send(webhook(receiver.url()), told, PATIENCE)

    assert receipt.status_code == 200
    (got,) = receiver.received
    assert (got.method, got.path) == ("POST", "/hook")
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("Pilothouse/")
    assert got.headers["idempotency-key"] == "delivery-1"
    assert "x-pilothouse-signature" not in got.headers
    assert got.json == {
        "receiver": "Ops",
        "status": "firing",
        "alerts": [
            {
                "status": "firing",
                "labels": {"agent": "a1", "alertname": "ErrorRate", "severity": "critical"},
                "annotations": {"clears_when": "it is below 5 %", "summary": "ErrorRate is high"},
                "startsAt": "2023-11-14T22:12:20Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "https://pilothouse.example",
                "fingerprint": got.json["alerts"][0]["fingerprint"],
            },
            {
                "status": "resolved",
                "labels": {"agent": "a2", "alertname": "ErrorRate", "severity": "critical"},
                "annotations": {"clears_when": "it is below 5 %", "summary": "ErrorRate is high"},
                "startsAt": "2023-11-14T22:12:20Z",
                "endsAt": "2023-11-14T22:13:20Z",
                "generatorURL": "https://pilothouse.example",
                "fingerprint": got.json["alerts"][1]["fingerprint"],
            },
        ],
        "groupLabels": {"alertname": "ErrorRate"},
        "commonLabels": {"alertname": "ErrorRate", "severity": "critical"},
        "commonAnnotations": {"clears_when": "it is below 5 %", "summary": "ErrorRate is high"},
        "externalURL": "https://pilothouse.example",
        "version": "4",
        "groupKey": '{}:{alertname="ErrorRate"}',
        "truncatedAlerts": 0,
    }


async def test_a_receiver_can_verify_who_sent_it(sender: Sender, receiver: Receiver) -> None:
    channel = webhook(receiver.url(), target=Webhook(receiver.url(), signed=True))
    hidden = Secrets(receiver.url(), "s3cret", {"Authorization": "Bearer t0ken"})

    await sender.send_opened(channel, hidden, notification(), PATIENCE)

    (got,) = receiver.received
    timestamp = got.headers["x-pilothouse-timestamp"]
    assert int(timestamp) == NOW_US // SECOND
    expected = hmac.new(b"s3cret", timestamp.encode() + b"." + got.body, hashlib.sha256)
    assert got.headers["x-pilothouse-signature"] == f"sha256={expected.hexdigest()}"
    assert got.headers["authorization"] == "Bearer t0ken"


async def test_user_and_password_of_a_url_go_into_a_header(
    sender: Sender, receiver: Receiver
) -> None:
    hidden = Secrets(receiver.url("/x?token=abc").replace("://", "://me:p%40ss@"))

    await sender.send_opened(webhook(), hidden, notification(), PATIENCE)

    (got,) = receiver.received
    assert got.headers["authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"
    assert got.path == "/x?token=abc"
    assert "me" not in got.headers["host"]


async def test_the_alerts_of_one_request_are_bounded_and_the_others_counted(
    sender: Sender, receiver: Receiver
) -> None:
    channel = webhook(target=Webhook(receiver.url(), max_alerts=2))
    told = notification(*(alert(agent=f"a{number}") for number in range(5)))

    await sender.send(channel, told, PATIENCE)

    sent = receiver.received[0].json
    assert (len(sent["alerts"]), sent["truncatedAlerts"]) == (2, 3)


async def test_one_alert_is_one_cloud_event(sender: Sender, receiver: Receiver) -> None:
    for _ in range(2):
        await sender.send(events(receiver.url()), notification(), PATIENCE)

    first, again = receiver.received
    assert first.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert_cloud_event(first.json)
    assert first.json["type"] == "io.pilothouse.alert.firing"
    assert first.json["data"]["labels"]["alertname"] == "ErrorRate"
    # What tells a repeat to a receiver is the source and the id.
    assert first.json == again.json


async def test_several_alerts_are_a_batch_of_cloud_events(
    sender: Sender, receiver: Receiver
) -> None:
    told = notification(alert(agent="a1"), alert(status="resolved", agent="a2"))
    channel = Channel("e", "E", CloudEvents(receiver.url(), source="/fleet/eu"))

    await sender.send(channel, told, PATIENCE)

    (got,) = receiver.received
    assert got.headers["content-type"] == "application/cloudevents-batch+json; charset=utf-8"
    assert [each["type"] for each in got.json] == [
        "io.pilothouse.alert.firing",
        "io.pilothouse.alert.resolved",
    ]
    assert len({each["id"] for each in got.json}) == 2
    for each in got.json:
        assert_cloud_event(each)
        assert each["source"] == "/fleet/eu"


def assert_cloud_event(event: dict[str, object]) -> None:
    """The required attributes of CloudEvents 1.0, and what the others have to look like."""
    assert event["specversion"] == "1.0"
    for required in ("id", "source", "type"):
        assert isinstance(event[required], str)
        assert event[required]
    assert set(event) <= {
        "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data",
    }  # fmt: skip
    assert str(event["time"]).endswith("Z")
    assert all(name.isalnum() and name == name.lower() for name in event)


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        (400, False),
        (401, False),
        (404, False),
        (410, False),
        (408, True),
        (425, True),
        (429, True),
        (500, True),
        (503, True),
    ],
)
async def test_a_refusal_is_final_unless_it_does_not_blame_the_request(
    status: int, retryable: bool, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer.status, receiver.answer.body = status, b"no\r\nthanks"
    with pytest.raises(DeliveryFailed, match=f"answered {status}: no thanks") as failed:
        await sender.send(webhook(receiver.url()), notification(), PATIENCE)
    assert (failed.value.retryable, failed.value.status_code) == (retryable, status)


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("120", 120 * SECOND),
        ("999999999", 3600 * SECOND),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60 * SECOND),
        ("Tue, 14 Nov 2023 21:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("²", None),
    ],
)
async def test_a_receiver_says_how_long_it_wants_to_be_left_alone(
    text: str, expected_us: int | None, sender: Sender, receiver: Receiver
) -> None:
    receiver.answer.status = 503
    receiver.answer.headers = {"Retry-After": text}
    with pytest.raises(DeliveryFailed) as failed:
        await sender.send(webhook(receiver.url()), notification(), PATIENCE)
    assert failed.value.retry_after_us == expected_us


async def test_one_that_does_not_answer_is_left_after_the_time(
    sender: Sender, receiver: Receiver
) -> None:
    receiver.answer.hangs = True
    with pytest.raises(
        DeliveryFailed, match=r"127\.0\.0\.1 did not answer within 0\.2 s"
    ) as failed:
        await sender.send(webhook(receiver.url()), notification(), 0.2)
    assert failed.value.retryable


async def test_one_that_is_not_there_may_come_back(sender: Sender) -> None:
    async with listening() as gone:
        url = gone.url()
    with pytest.raises(DeliveryFailed, match=r"127\.0\.0\.1: .*refused") as failed:
        await sender.send(webhook(url), notification(), PATIENCE)
    assert failed.value.retryable


async def test_a_name_that_is_not_known_may_be_known_later(senders: Senders) -> None:
    sender = senders()
    with pytest.raises(DeliveryFailed, match=r"the name hooks\.invalid is not known") as failed:
        await sender.send(webhook("https://hooks.invalid/x"), notification(), PATIENCE)
    assert failed.value.retryable


async def test_an_answer_without_end_is_not_read_to_its_end(
    sender: Sender, receiver: Receiver
) -> None:
    receiver.answer.body = b"x" * (8 << 20)
    receipt = await sender.send(webhook(receiver.url()), notification(), PATIENCE)
    assert receipt.status_code == 200


async def test_tls_is_verified(senders: Senders, certificate: Certificate) -> None:
    async with listening(certificate.server) as receiver:
        trusting = senders("127.0.0.1", tls=certificate.client)
        await trusting.send(webhook(receiver.url()), notification(), PATIENCE)
        assert len(receiver.received) == 1

        with pytest.raises(DeliveryFailed, match="certificate verify failed") as failed:
            await senders("127.0.0.1").send(webhook(receiver.url()), notification(), PATIENCE)
        assert failed.value.retryable
        other = senders("localhost", tls=certificate.client)
        with pytest.raises(DeliveryFailed, match="certificate"):
            await other.send(webhook(receiver.url(host="localhost")), notification(), PATIENCE)
        assert len(receiver.received) == 1


async def test_a_failure_says_nothing_secret(
    sender: Sender, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answer.status, receiver.answer.body = 400, b"bad token t0ken of s3cret"
    hidden = Secrets(receiver.url("/T0/k3y?key=qu3ry"), "s3cret", {"Authorization": "t0ken"})

    with pytest.raises(DeliveryFailed, match=r"bad token \*\*\* of \*\*\*") as failed:
        await sender.send_opened(webhook(), hidden, notification(), PATIENCE)

    said = failed.value.description + caplog.text.replace("k3y", "")
    assert not any(secret in said for secret in ("s3cret", "t0ken", "qu3ry"))


@pytest.mark.parametrize("padding", [0, 140, 190, 795])
async def test_an_answer_that_repeats_the_request_repeats_nothing_secret(
    sender: Sender, receiver: Receiver, padding: int
) -> None:
    place = "hooks.test/T0/9f86d081884c7d659a2f?key=qu%20ry&b0ttoken=#fr4g"
    echo = "Cannot POST /T0/9f86d081884c7d659a2f?key=qu ry of us3r:p4ssword"
    receiver.answer.status, receiver.answer.body = 404, b"." * padding + echo.encode()
    url = receiver.url(f"/{place.partition('/')[2]}").replace("://", "://us3r:p4ssword@")
    with pytest.raises(DeliveryFailed, match="404") as failed:
        await sender.send_opened(webhook(), Secrets(url), notification(), PATIENCE)
    said = failed.value.description
    assert not any(some in said for some in ("9f8", "qu ry", "us3r", "p4ss"))


async def test_no_proxy_of_the_environment_is_used(
    sender: Sender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, receiver.url("/proxy"))
    await sender.send(webhook(receiver.url()), notification(), PATIENCE)
    urls = (receiver.url().replace("http://", "json://"),)
    await sender.send_opened(apprise("JSON"), Secrets(urls=urls), notification(), 30.0)
    assert [each.path for each in receiver.received] == ["/hook", "/hook"]


async def test_secrets_without_their_key_wait_for_it(sender: Sender, receiver: Receiver) -> None:
    other = Sealer([b"k" * 32])
    channel = webhook(receiver.url(), sealed=other.seal("ops", Secrets(receiver.url(), "s")))

    with pytest.raises(DeliveryFailed, match="put that key back") as failed:
        await sender.send(channel, notification(), PATIENCE)

    assert failed.value.retryable
    assert receiver.received == []
