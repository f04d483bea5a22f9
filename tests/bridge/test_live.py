"""The WebSocket: snapshots, changes, resuming, and what a client is told when something is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from pilothouse.v1.agents_pb2 import Agent
from pilothouse.v1.alerts_pb2 import Alert, AlertState
from pilothouse.v1.enums_pb2 import AgentState, WorkflowState
from pilothouse.v1.events_pb2 import Event, EventBatch
from pilothouse.v1.live_pb2 import LiveFrame, LiveRequest, Ping, Position, Subscribe
from pilothouse.v1.metrics_pb2 import MetricDimension, MetricSeries, MetricsSnapshot
from pilothouse.v1.workflows_pb2 import Workflow
from tests.bridge.support import Stage, ask, frame, seeded, staged, subscribe

RUNNING = WorkflowState.WORKFLOW_STATE_RUNNING
HOSTILE = [
    "</script><script>alert(1)</script>",
    '"}]}',
    "\u2028\u0000\u202e",
    "ä" * 2_000,
    "\U0001f600",
    "{{x}}",
]


def workflow(number: int, **fields: Any) -> Workflow:
    return Workflow(id=f"w-{number}", state=RUNNING, **fields)


def batch(*numbers: int) -> EventBatch:
    return EventBatch(events=[Event(id=f"e-{number}") for number in numbers])


def place(got: dict[str, Any]) -> dict[str, Any]:
    return {"epoch": got["epoch"], "sequence": got["sequence"]}


def ids(got: dict[str, Any]) -> list[str]:
    return [event["id"] for event in got["data"]["events"]]


async def at(stage: Stage, channel: str, count: int) -> dict[str, Any]:
    """Watch a channel with a client of its own until it has sent `count` events or changes; its last place."""
    async with stage.live() as socket:
        await subscribe(socket, channel)
        seen = 0
        while True:
            got = await frame(socket)
            if not got["type"].endswith(("snapshot", "append", "update")):
                continue
            data = got["data"]
            seen += (
                len(next(iter(data.values())))
                if "snapshot" in got["type"]
                else len(data.get("events", [1]))
            )
            if seen >= count:
                return place(got)


async def test_a_subscriber_gets_the_newest_metrics_at_once_and_then_each_new_one() -> None:
    async with (
        staged(seeded(snapshots=[MetricsSnapshot(sequence=7)])) as stage,
        stage.live() as socket,
    ):
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


async def test_the_metrics_of_the_fleet_are_a_channel_of_their_own() -> None:
    series = [
        MetricSeries(dimension=MetricDimension.METRIC_DIMENSION_FLEET),
        MetricSeries(dimension=MetricDimension.METRIC_DIMENSION_AGENT, name="a-1"),
    ]
    server = seeded(snapshots=[MetricsSnapshot(sequence=7, series=series)])
    async with staged(server) as stage, stage.live() as socket:
        await subscribe(socket, "metrics:fleet", "metrics:realtime")
        got = [await frame(socket, "metrics:update") for _ in range(2)]
        shown = {each["channel"]: [one["name"] for one in each["data"]["series"]] for each in got}
        assert shown == {"metrics:fleet": [""], "metrics:realtime": ["", "a-1"]}


async def test_a_snapshot_of_workflows_comes_first_and_changes_follow_densely() -> None:
    server = seeded(workflows=[workflow(1), workflow(2), workflow(1, workflow_name="newer")])
    async with staged(server) as stage, stage.live() as socket:
        await subscribe(socket, "workflows:changes")
        first = await frame(socket, "workflows:snapshot")
        named = {each["id"]: each["workflow_name"] for each in first["data"]["workflows"]}
        assert named == {"w-1": "newer", "w-2": ""}
        assert first["data"]["truncated"] is False
        await stage.server.workflows.add(workflow(3))
        await stage.server.workflows.add(workflow(4))
        changes = [await frame(socket, "workflows:update") for _ in range(2)]
        assert [change["data"]["id"] for change in changes] == ["w-3", "w-4"]
        assert [change["sequence"] - first["sequence"] for change in changes] == [1, 2]


async def test_a_snapshot_over_its_limit_keeps_what_is_open_and_says_so() -> None:
    ended = Workflow(id="ended", state=WorkflowState.WORKFLOW_STATE_COMPLETED)
    server = seeded(workflows=[workflow(1), ended, workflow(2)])
    async with staged(server, workflows_backlog=2) as stage, stage.live() as socket:
        await subscribe(socket, "workflows:changes")
        got = await frame(socket, "workflows:snapshot")
        assert got["data"]["truncated"] is True
        assert sorted(w["id"] for w in got["data"]["workflows"]) == ["w-1", "w-2"]


async def test_a_resolved_alert_is_told_and_then_no_longer_in_the_snapshot() -> None:
    server = seeded(alerts=[Alert(id="a", state=AlertState.ALERT_STATE_FIRING)])
    async with staged(server) as stage, stage.live() as socket:
        await subscribe(socket, "alerts:active")
        assert len((await frame(socket, "alerts:snapshot"))["data"]["alerts"]) == 1
        await stage.server.alerts.add(Alert(id="a", state=AlertState.ALERT_STATE_RESOLVED))
        assert (await frame(socket, "alerts:update"))["data"]["state"] == "ALERT_STATE_RESOLVED"
        await subscribe(socket, "alerts:active")
        # The snapshot may be the one before, with what changed since behind it.
        got = await frame(socket, "alerts:snapshot", "alerts:update")
        states = {alert["id"]: alert["state"] for alert in got["data"].get("alerts", [got["data"]])}
        if states.get("a") == "ALERT_STATE_FIRING":
            states = {"a": (await frame(socket, "alerts:update"))["data"]["state"]}
        assert states in ({}, {"a": "ALERT_STATE_RESOLVED"})


async def test_agents_and_events_are_channels_too() -> None:
    builder = Agent(id="builder-1", state=AgentState.AGENT_STATE_BUSY)
    async with (
        staged(seeded(agents=[builder], events=[batch(1, 2)])) as stage,
        stage.live() as socket,
    ):
        await subscribe(socket, "agents:changes", "events:live")
        seen = [await frame(socket, "agents:snapshot", "events:snapshot") for _ in range(2)]
        by_type = {got["type"]: got["data"] for got in seen}
        assert by_type["agents:snapshot"]["agents"][0]["id"] == "builder-1"
        assert [event["id"] for event in by_type["events:snapshot"]["events"]] == ["e-1", "e-2"]
        await stage.server.events.add(batch(3, 4))
        assert ids(await frame(socket, "events:append")) == ["e-3", "e-4"]


async def test_a_client_that_comes_back_gets_exactly_what_it_missed() -> None:
    async with staged(seeded(events=[batch(1)])) as stage:
        async with stage.live() as socket:
            await subscribe(socket, "events:live")
            await frame(socket, "events:snapshot")
            await stage.server.events.add(batch(2))
            left_at = place(await frame(socket, "events:append"))
        await stage.server.events.add(batch(3))
        await stage.server.events.add(batch(4, 5))
        await at(stage, "events:live", 5)
        async with stage.live() as socket:
            await subscribe(socket, "events:live", positions={"events:live": left_at})
            missed: list[str] = []
            while len(missed) < 3:
                got = await frame(socket)
                assert got["type"] == "events:append"
                missed += ids(got)
            assert missed == ["e-3", "e-4", "e-5"]
            await stage.server.events.add(batch(6))
            assert ids(await frame(socket, "events:append")) == ["e-6"]


async def test_a_client_that_missed_nothing_is_told_so_at_once() -> None:
    async with staged(seeded(workflows=[workflow(1)])) as stage, stage.live() as socket:
        await subscribe(socket, "workflows:changes")
        left_at = place(await frame(socket, "workflows:snapshot"))
        await subscribe(socket, "workflows:changes", positions={"workflows:changes": left_at})
        got = await frame(socket)
        assert (got["type"], place(got)) == ("progress", left_at)
        assert got["data"]["upstream_connected"] is True
        assert float(got["data"]["upstream_age"].rstrip("s")) < 10


async def test_a_place_that_left_the_ring_is_a_counted_gap_for_events() -> None:
    async with staged(ring_frames=2) as stage:
        async with stage.live() as socket:
            await subscribe(socket, "events:live")
            left_at = place(await frame(socket, "events:snapshot"))
            for number in range(1, 6):
                await stage.server.events.add(batch(number, number + 100))
                assert ids(await frame(socket, "events:append"))[0] == f"e-{number}"
        async with stage.live() as socket:
            await subscribe(socket, "events:live", positions={"events:live": left_at})
            gap = await frame(socket)
            assert gap["type"] == "gap"
            assert gap["data"]["reason"] == "TOO_OLD"
            assert gap["data"]["missed_count"] == "6"
            assert int(gap["data"]["from_sequence"]) == left_at["sequence"] + 1
            rest = [await frame(socket), await frame(socket)]
            assert [ids(got)[0] for got in rest] == ["e-4", "e-5"]
            assert rest[0]["sequence"] == int(gap["data"]["to_sequence"]) + 1


async def test_a_place_that_left_the_ring_is_a_gap_and_a_snapshot_for_workflows() -> None:
    async with staged(ring_frames=2) as stage:
        async with stage.live() as socket:
            await subscribe(socket, "workflows:changes")
            left_at = place(await frame(socket, "workflows:snapshot"))
            for number in range(1, 6):
                await stage.server.workflows.add(workflow(number))
                await frame(socket, "workflows:update")
        async with stage.live() as socket:
            await subscribe(socket, "workflows:changes", positions={"workflows:changes": left_at})
            assert (await frame(socket))["type"] == "gap"
            got = await frame(socket)
            assert (got["type"], len(got["data"]["workflows"])) == ("workflows:snapshot", 5)


@pytest.mark.parametrize("sequence", [0, 3, 2**63])
async def test_a_place_of_another_history_is_a_gap_and_a_snapshot(sequence: int) -> None:
    async with staged(seeded(workflows=[workflow(1)])) as stage, stage.live() as socket:
        positions = {"workflows:changes": {"epoch": "of another bridge", "sequence": sequence}}
        await subscribe(socket, "workflows:changes", positions=positions)
        gap = await frame(socket, "gap")
        assert gap["data"]["reason"] == "OTHER_EPOCH"
        assert "missed_count" not in gap["data"]
        assert (await frame(socket))["type"] == "workflows:snapshot"


async def test_an_unsubscribed_channel_is_silent() -> None:
    async with staged() as stage, stage.live() as socket:
        await subscribe(socket, "workflows:changes", "events:live")
        for _ in range(2):  # What comes from now on is a change of either.
            await frame(socket, "workflows:snapshot", "events:snapshot")
        await ask(socket, type="unsubscribe", channels=["workflows:changes"])
        assert (await frame(socket, "unsubscribed"))["data"] == {"channels": ["events:live"]}
        await stage.server.workflows.add(workflow(1))
        await at(stage, "workflows:changes", 1)
        await stage.server.events.add(batch(1))
        while (got := await frame(socket))["type"] != "events:append":
            assert got["channel"] != "workflows:changes"


async def test_a_quiet_channel_says_that_it_is_fresh() -> None:
    async with staged(heartbeat=0.05) as stage, stage.live() as socket:
        await subscribe(socket, "workflows:changes")
        first = await frame(socket, "workflows:snapshot")
        got = await frame(socket, "progress")
        assert place(got) == place(first)
        assert got["data"]["upstream_connected"] is True


async def test_a_client_may_have_the_field_names_of_json() -> None:
    async with staged(seeded(workflows=[workflow(1)])) as stage, stage.live() as one:
        await subscribe(one, "workflows:changes", "events:live", names="json")
        async with stage.live() as other:
            await subscribe(other, "workflows:changes", names="contract")
            seen = [await frame(one, "workflows:snapshot", "events:snapshot") for _ in range(2)]
            first = next(each for each in seen if each["type"] == "workflows:snapshot")
            assert first["data"]["workflows"][0]["workflowName"] == ""
            first = await frame(other, "workflows:snapshot")
            assert first["data"]["workflows"][0]["workflow_name"] == ""
            await stage.server.workflows.add(workflow(2))
            for socket, name in ((one, "workflowName"), (other, "workflow_name")):
                assert (await frame(socket, "workflows:update"))["data"][name] == ""
        await stage.server.events.add(batch(1))
        assert (await frame(one, "events:append"))["data"]["events"][0]["workflowId"] == ""


async def test_binary_clients_get_the_same_frames() -> None:
    async with staged(seeded(workflows=[workflow(1)])) as stage, stage.live() as socket:
        request = LiveRequest(subscribe=Subscribe(channels=["workflows:changes"]))
        await socket.send(request.SerializeToString())
        subscribed = LiveFrame.FromString(await socket.recv(decode=False))
        assert list(subscribed.subscribed.channels) == ["workflows:changes"]
        got = LiveFrame()
        while not got.snapshot.workflows:
            got = LiveFrame.FromString(await socket.recv(decode=False))
        request.subscribe.positions["workflows:changes"].CopyFrom(
            Position(epoch=got.epoch, sequence=got.sequence)
        )
        await socket.send(request.SerializeToString())
        answers: list[str | None] = []
        while "subscribed" not in answers or len(answers) < 2:
            live = LiveFrame.FromString(await socket.recv(decode=False))
            if answers or live.WhichOneof("payload") == "subscribed":
                answers.append(live.WhichOneof("payload"))
        assert answers == ["subscribed", "progress"]
        await socket.send(LiveRequest(ping=Ping(nonce=2**64 - 1)).SerializeToString())
        pong = LiveFrame.FromString(await socket.recv(decode=False))
        assert pong.pong.nonce == 2**64 - 1


async def test_a_ping_is_answered_with_its_nonce() -> None:
    async with staged() as stage, stage.live() as socket:
        await ask(socket, type="ping", nonce=5)
        got = await frame(socket)
        assert (got["type"], got["data"]) == ("pong", {"nonce": "5"})
        assert set(got) == {"type", "data", "timestamp"}


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_strings_arrive_as_they_are(text: str) -> None:
    server = seeded(workflows=[workflow(1, workflow_name=text)])
    async with staged(server) as stage, stage.live() as socket:
        await subscribe(socket, "workflows:changes")
        got = await frame(socket, "workflows:snapshot")
        assert got["data"]["workflows"][0]["workflow_name"] == text
        await stage.server.workflows.add(workflow(2, workflow_name=text))
        assert (await frame(socket, "workflows:update"))["data"]["workflow_name"] == text


async def test_an_unknown_channel_is_named_and_nothing_is_followed() -> None:
    async with staged() as stage, stage.live() as socket:
        got = await subscribe(socket, "metrics:realtime", "metrics:reeltime")
        assert got["data"]["reason"] == "UNKNOWN_CHANNEL"
        assert got["data"]["metadata"]["channel"] == "metrics:reeltime"
        assert "metrics:realtime" in got["data"]["metadata"]["channels"]
        assert (await subscribe(socket, "events:live"))["data"] == {"channels": ["events:live"]}


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 50_000,
        '{"type":"subscribe"}',
        '{"type":"subscribe","channels":"metrics:realtime"}',
        '{"type":"subscribe","channels":[7]}',
        '{"type":"subscribe","channels":[]}',
        '{"type":"subscribe","channels":["events:live"],"position":{}}',
        '{"type":"subscribe","channels":["events:live"],"positions":{"events:live":{"epoch":"e"}}}',
        '{"type":"subscribe","channels":["events:live"],"positions":{"events:live":{"epoch":1,"sequence":1}}}',
        '{"type":"subscribe","channels":["events:live"],"positions":[]}',
        '{"type":"subscribe","channels":["events:live"],"names":"camel"}',
        '{"type":"subscribe","channels":["events:live"],"names":["json"]}',
        '{"type":"ping","nonce":-1}',
        '{"type":"ping","nonce":1.5}',
        '{"type":"ping","nonce":' + "9" * 5_000 + "}",
        '{"type":"\\ud800"}',
        '{"\\ud800":1,"type":"ping"}',
        '{"type":["subscribe"]}',
        b"",
        b"\xff\xff\xff",
    ],
)
async def test_a_message_that_makes_no_sense_is_named_and_the_connection_stays(
    sent: str | bytes,
) -> None:
    async with staged() as stage, stage.live() as socket:
        await socket.send(sent)
        if isinstance(sent, bytes):
            got = LiveFrame.FromString(await socket.recv(decode=False))
            assert got.error.reason == "MALFORMED_REQUEST"
        else:
            assert (await frame(socket))["data"]["reason"] == "MALFORMED_REQUEST"
        await ask(socket, type="ping", nonce=1)
        assert (await frame(socket))["type"] == "pong"


async def test_too_many_channels_are_named() -> None:
    async with staged() as stage, stage.live() as socket:
        got = await subscribe(socket, *[f"c-{i}" for i in range(17)])
        assert (got["data"]["reason"], got["data"]["metadata"]["limit"]) == ("LIMIT_EXCEEDED", "16")


async def test_an_oversized_message_is_named_before_the_close() -> None:
    async with staged(max_frame=1_000) as stage, stage.live() as socket:
        await socket.send(json.dumps({"type": "ping", "pad": "x" * 2_000}))
        assert (await frame(socket))["data"]["reason"] == "LIMIT_EXCEEDED"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_text_that_is_not_utf8_is_closed_with_its_code() -> None:
    async with staged() as stage, stage.live() as socket:
        await socket.send(b"\xff\xfe", text=True)
        assert (await frame(socket))["data"]["reason"] == "MALFORMED_REQUEST"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1007


async def test_a_client_that_only_makes_errors_is_closed_with_a_reason() -> None:
    async with staged(max_errors=3) as stage, stage.live() as socket:
        for _ in range(3):
            await socket.send("?")
            assert (await frame(socket))["type"] == "error"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
            4400,
            "too many requests in error",
        )


async def test_a_client_that_asks_too_often_is_closed_with_a_reason() -> None:
    async with staged(message_burst=2, messages_per_second=0.001) as stage, stage.live() as socket:
        for _ in range(3):
            await ask(socket, type="ping")
        kinds = [(await frame(socket))["type"] for _ in range(3)]
        assert kinds == ["pong", "pong", "error"]
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4429


async def test_a_flood_of_protocol_pings_is_closed_too() -> None:
    async with staged(message_burst=2, messages_per_second=0.001) as stage, stage.live() as socket:
        for number in range(3):
            await socket.ping(str(number))
        assert (await frame(socket))["data"]["reason"] == "RATE_LIMITED"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4429
