"""Channels and escalations over gRPC, on both databases: made, changed, tried out and refused; secrets go in only."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import text

from pilothouse.v1 import channels_pb2 as pb
from pilothouse.v1 import channels_pb2_grpc, enums_pb2, escalations_pb2, matchers_pb2
from pilothouse.v1 import escalations_pb2_grpc as escalations_grpc
from pilothouse_server.adapters.notifying.sealing import Sealer
from pilothouse_server.adapters.sql import rule_store
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.domain.alerts.conditions import AlertMetric, Comparison, Threshold
from pilothouse_server.domain.alerts.rules import Rule
from tests.channels.conftest import Senders
from tests.channels.house import House, escalation, make, refused, update, webhook
from tests.channels.receiver import Receiver
from tests.databases import Place

SECRETS = ("s3cret", "t0ken", "qu3ry", "p4ss")


async def test_a_channel_is_made_shown_changed_and_deleted(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub, house: House
) -> None:
    seen = house.changes.version
    made = await make(channels, webhook(group_by=["alertname", "agent"]))

    assert (made.id, made.etag, made.updated_by) == ("ops", "1", "anonymous")
    assert made.webhook == pb.WebhookChannel(
        url="http://127.0.0.1:9/hook?key=***", headers={"Authorization": ""}, max_alerts=100
    )
    assert (made.group_interval.seconds, made.repeat_interval.seconds) == (5, 4 * 3600)
    assert (made.rate_limit_per_minute, made.group_wait.seconds) == (60, 0)
    assert house.changes.version > seen

    changed = await update(
        channels, pb.Channel(id="ops", name="Operators", group_by=["stage"]), "group_by"
    )
    assert (changed.name, list(changed.group_by), changed.etag) == ("Ops", ["stage"], "2")
    assert changed.webhook == made.webhook
    assert (await channels.ListChannels(pb.ListChannelsRequest())).channels == [changed]
    assert (await channels.GetChannel(pb.GetChannelRequest(channel_id="ops"))).channel == changed

    stale = pb.DeleteChannelRequest(channel_id="ops", etag="1")
    assert (await refused(channels.DeleteChannel(stale))).reason == "ETAG_MISMATCH"
    await channels.DeleteChannel(pb.DeleteChannelRequest(channel_id="ops", etag="2"))
    gone = await refused(channels.GetChannel(pb.GetChannelRequest(channel_id="ops")))
    assert gone.reason == "CHANNEL_NOT_FOUND"


async def test_no_answer_and_no_row_has_a_secret(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub, database: Database, place: Place
) -> None:
    apprise = pb.AppriseChannel(urls=["mailto://me:p4ss@example.com"])
    made = [
        await make(channels, webhook()),
        await make(channels, pb.Channel(name="Mail", apprise=apprise)),
    ]
    listed = await channels.ListChannels(pb.ListChannelsRequest())

    assert list(made[1].apprise.services) == ["E-Mail"]
    assert not made[1].apprise.urls
    assert not any(each in str([*made, listed]) for each in SECRETS)
    rows = await database.read(lambda c: str(c.execute(text("SELECT * FROM channels")).all()))
    assert not any(each in rows for each in SECRETS)
    if isinstance(place, Path):
        files = b"".join(each.read_bytes() for each in place.parent.glob(f"{place.name}*"))
        assert b"channels" in files
        assert not any(each.encode() in files for each in SECRETS)


async def test_secrets_that_are_not_said_anew_stay(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub, receiver: Receiver
) -> None:
    made = await make(channels, webhook(receiver.url()))
    # What a form sends back is what it was shown.
    await update(channels, pb.Channel(id="ops", name="Renamed", enabled=True, webhook=made.webhook))
    await channels.TestChannel(pb.TestChannelRequest(channel_id="ops"))
    moved = pb.WebhookChannel(
        url=receiver.url("/other"), headers={"Authorization": "", "X-Env": "e"}
    )
    await update(channels, pb.Channel(id="ops", webhook=moved), "webhook")
    await channels.TestChannel(pb.TestChannelRequest(channel_id="ops"))

    first, _, second, _ = receiver.received  # each test and its end
    assert (first.path, second.path) == ("/hook?key=qu3ry", "/other")
    for each in (first, second):
        assert each.headers["authorization"] == "t0ken"
        assert each.headers["x-pilothouse-signature"].startswith("sha256=")
    assert second.headers["x-env"] == "e"


async def test_a_url_that_was_shown_is_not_stored_as_if_it_were_one(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub,
) -> None:
    made = await make(channels, webhook())
    other = pb.Channel(id="ops", cloud_events=pb.CloudEventsChannel(url=made.webhook.url))
    edited = pb.Channel(id="ops", webhook=pb.WebhookChannel(url=f"{made.webhook.url}&more=1"))
    for wanted, path in ((other, "cloud_events"), (edited, "webhook")):
        assert "give all of it anew" in (await refused(update(channels, wanted, path))).message


async def test_secrets_do_not_move_to_another_host(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub,
) -> None:
    await make(channels, webhook())
    elsewhere = pb.WebhookChannel(url="https://evil.example/", headers={"Authorization": ""})
    change = update(channels, pb.Channel(id="ops", webhook=elsewhere), "webhook")
    assert "another host" in (await refused(change)).message
    trial = pb.TestChannelRequest(channel=pb.Channel(id="ops", name="Ops", webhook=elsewhere))
    assert "another host" in (await refused(channels.TestChannel(trial))).message
    anew = pb.WebhookChannel(url="https://b.example/", secret="x", headers={"Authorization": "y"})
    changed = await update(channels, pb.Channel(id="ops", webhook=anew), "webhook")
    assert changed.webhook.url == "https://b.example/"


async def test_a_repeat_of_a_request_makes_no_second_one(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub,
) -> None:
    request_id = str(uuid.uuid4())
    made = await make(channels, webhook(), request_id)
    again = await make(channels, webhook(), request_id.upper())
    other = await refused(make(channels, webhook(name="Other"), request_id))

    assert again == made
    assert other.reason == "REQUEST_ID_REUSED"
    assert (await refused(make(channels, webhook()))).reason == "ALREADY_THERE"
    assert (await make(channels, webhook(name="OPS!"))).id == "ops-2"
    taken = await refused(make(channels, webhook(name="New", id="ops")))
    assert (taken.reason, taken.metadata["field"]) == ("ALREADY_THERE", "id")


async def test_two_who_change_at_once_do_not_undo_each_other(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub,
) -> None:
    made = await make(channels, webhook())
    await asyncio.gather(
        update(channels, pb.Channel(id="ops", group_by=["stage"]), "group_by"),
        update(channels, pb.Channel(id="ops", is_default=True), "is_default"),
    )
    found = (await channels.GetChannel(pb.GetChannelRequest(channel_id="ops"))).channel
    assert (list(found.group_by), found.is_default, found.etag) == (["stage"], True, "3")
    stale = update(channels, pb.Channel(id="ops", name="X"), "name", etag=made.etag)
    assert (await refused(stale)).reason == "ETAG_MISMATCH"


def _matcher(value: str) -> matchers_pb2.Matcher:
    kind = matchers_pb2.MATCH_TYPE_REGEX
    return matchers_pb2.Matcher(name="stage", type=kind, value=value)


@pytest.mark.parametrize(
    ("channel", "field", "why"),
    [
        (webhook("http://10.0.0.1/x"), "channel.webhook.url", "not public"),
        (webhook("http://169.254.169.254/x"), "channel.webhook.url", "metadata"),
        (webhook("ftp://example.com/x"), "channel.webhook.url", "http"),
        (webhook(group_by=["1st"]), "channel.group_by[0]", "no name of a label"),
        (webhook(matchers=[_matcher("(")]), "channel.matchers[0].value", "RE2"),
        (webhook(name=" Ops"), "channel.name", "space"),
        (webhook(name="O\nps"), "channel.name", "printed"),
        (
            pb.Channel(
                name="x", webhook=pb.WebhookChannel(url="https://e.com", headers={"Host": "h"})
            ),
            "channel.webhook.headers",
            "set by the server",
        ),
        (
            pb.Channel(
                name="x", webhook=pb.WebhookChannel(url="https://e.com", headers={"A": "x\r\nB: y"})
            ),
            "channel.webhook.headers",
            "printable",
        ),
        (
            pb.Channel(
                name="x",
                cloud_events=pb.CloudEventsChannel(url="https://e.com", headers={"A": ""}),
            ),
            "channel.cloud_events.headers",
            "no value",
        ),
        (pb.Channel(name="x", apprise=pb.AppriseChannel()), "channel.apprise.urls", "at least one"),
        (webhook(repeat_interval=Duration()), "channel.repeat_interval", ""),
        (pb.Channel(name="x"), "channel", ""),
        (webhook(id="a b"), "channel.id", ""),
    ],
)
async def test_what_a_channel_cannot_be_is_said_by_field(
    channel: pb.Channel, field: str, why: str, channels: channels_pb2_grpc.ChannelServiceAsyncStub
) -> None:
    error = await refused(make(channels, channel))
    (violation,) = error.violations
    assert error.reason == "INVALID_ARGUMENT"
    assert violation.field.startswith(field)
    assert why in violation.description


async def test_a_mask_names_what_can_be_changed(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub,
) -> None:
    await make(channels, webhook())
    for path, why in (("etag", "cannot be changed"), ("colour", "is no field")):
        error = await refused(update(channels, pb.Channel(id="ops"), path))
        assert why in error.message
    changed = await update(
        channels,
        pb.Channel(id="ops", min_severity=enums_pb2.SEVERITY_ERROR),
        "min_severity",
        "webhook.max_alerts",
    )
    assert changed.min_severity == enums_pb2.SEVERITY_ERROR


async def test_a_test_is_sent_at_once_and_says_what_became_of_it(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub, receiver: Receiver
) -> None:
    await make(channels, webhook(receiver.url(), enabled=False))
    stored = await channels.TestChannel(pb.TestChannelRequest(channel_id="ops"))
    unstored = await channels.TestChannel(
        pb.TestChannelRequest(
            channel=pb.Channel(
                id="new",
                name="New",
                cloud_events=pb.CloudEventsChannel(url=receiver.url("/events")),
            )
        )
    )
    assert (stored.delivered, stored.status_code, stored.error) == (True, 200, "")
    assert unstored.delivered
    assert stored.duration.ToMicroseconds() > 0
    fired, ended, event, last = (each.json for each in receiver.received)
    assert [fired["status"], ended["status"]] == ["firing", "resolved"]
    (begin,), (end,) = fired["alerts"], ended["alerts"]
    assert begin["labels"]["alertname"] == "PilothouseTest"
    assert begin["fingerprint"] == end["fingerprint"]
    kinds = [each["type"].rpartition(".")[2] for each in (event, last)]
    assert kinds == ["firing", "resolved"]
    assert event["data"]["labels"]["alertname"] == "PilothouseTest"
    assert len({each.headers["idempotency-key"] for each in receiver.received}) == 4

    receiver.received.clear()
    await make(channels, webhook(receiver.url(), id="quiet", name="Quiet", skip_resolved=True))
    assert (await channels.TestChannel(pb.TestChannelRequest(channel_id="quiet"))).delivered
    assert [each.json["status"] for each in receiver.received] == ["firing"]

    receiver.answer.status, receiver.answer.body = 403, b"who are you"
    said = await channels.TestChannel(pb.TestChannelRequest(channel_id="ops"))
    assert (said.delivered, said.status_code) == (False, 403)
    assert said.error == "the receiver answered 403: who are you"
    nobody = await refused(channels.TestChannel(pb.TestChannelRequest(channel_id="nobody")))
    assert nobody.reason == "CHANNEL_NOT_FOUND"
    assert (
        await refused(channels.TestChannel(pb.TestChannelRequest()))
    ).reason == "INVALID_ARGUMENT"


async def test_a_lost_key_is_told_where_the_channels_health_is(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub, house: House, senders: Senders
) -> None:
    await make(channels, webhook())
    await make(channels, pb.Channel(name="Open", webhook=pb.WebhookChannel(url="https://e.com/")))
    object.__setattr__(house.channels, "sealing", Sealer([b"x" * 32]))

    listed = (await channels.ListChannels(pb.ListChannelsRequest())).channels

    assert {each.id: "put that key back" in each.health.error for each in listed} == {
        "open": False,
        "ops": True,
    }
    tested = await channels.TestChannel(pb.TestChannelRequest(channel_id="ops"))
    assert not tested.delivered
    assert "put that key back" in tested.error
    anew = webhook().webhook
    await update(channels, pb.Channel(id="ops", webhook=anew), "webhook")


async def test_without_a_key_only_what_has_secrets_is_refused(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub, house: House
) -> None:
    object.__setattr__(house.channels, "sealing", Sealer())
    error = await refused(make(channels, webhook()))
    assert error.reason == "NO_SECRET_KEY"
    assert "pilothouse-server new-secret-key" in error.message
    await make(channels, pb.Channel(name="Open", webhook=pb.WebhookChannel(url="https://e.com/")))


async def test_what_is_named_cannot_be_deleted(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub,
    escalations: escalations_grpc.EscalationServiceAsyncStub,
    house: House,
) -> None:
    await make(channels, webhook())
    await escalations.CreateEscalation(
        escalations_pb2.CreateEscalationRequest(escalation=escalation(0, 300))
    )
    threshold = Threshold(AlertMetric.QUEUE_DEPTH, Comparison.GREATER_THAN, 1.0)
    rule = Rule("deep", "Deep", threshold, channels=("ops",), escalation="on-call")
    await house.database.write(lambda c: rule_store.ship(c, [rule]))

    error = await refused(channels.DeleteChannel(pb.DeleteChannelRequest(channel_id="ops")))

    assert error.reason == "STILL_NAMED"
    assert "rule deep, escalation on-call" in error.message
    request = escalations_pb2.DeleteEscalationRequest(escalation_id="on-call")
    assert "rule deep" in (await refused(escalations.DeleteEscalation(request))).message
    assert (await channels.GetChannel(pb.GetChannelRequest(channel_id="ops"))).channel.id == "ops"


async def test_there_are_no_more_than_two_hundred_channels(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub,
) -> None:
    plain = pb.WebhookChannel(url="https://e.com/")
    for number in range(200):
        await make(channels, pb.Channel(id=f"c{number}", name=f"c{number}", webhook=plain))
    error = await refused(make(channels, pb.Channel(name="more", webhook=plain)))
    assert (error.reason, error.metadata["maximum"]) == ("LIMIT_EXCEEDED", "200")
