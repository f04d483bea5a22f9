"""Workflows, agents and events out: pages, single ones, and watches."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
import pytest

from pilothouse.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    enums_pb2,
    events_pb2,
    events_pb2_grpc,
    workflows_pb2_grpc,
)
from pilothouse.v1 import workflows_pb2 as pb
from pilothouse_server.domain.errors import (
    InvalidArgument,
    InvalidFilter,
    InvalidPageToken,
    InvalidResumeToken,
    NotFound,
)
from pilothouse_server.domain.events import AgentLoad, EventType, Usage
from pilothouse_server.domain.projection.agent import AgentState
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.services.allowance import Allowance
from pilothouse_server.services.views import PageRequest
from pilothouse_server.services.watch import (
    CaughtUp,
    Heartbeat,
    Items,
    Reset,
    Update,
    WatchSource,
    watch,
)
from pilothouse_server.wire.events import stored_to_proto
from pilothouse_server.wire.workflows import workflow_to_proto
from tests.projection.build import NOON, SECOND, event
from tests.services.conftest import Station
from tests.support import wait_until

E = EventType
T = TypeVar("T")


async def listed(station: Station, size: int = 3, **request: str) -> list[str]:
    """All ids of a list, page by page."""
    ids: list[str] = []
    token = ""
    while True:
        page = await station.workflows.page(PageRequest(size, token, **request))
        ids += [view.record.id for view in page.workflows]
        token = page.next_token
        if not token:
            return ids


async def three(station: Station) -> None:
    await station.report(
        event(
            E.WORKFLOW_STARTED, workflow_id="w1", at=1, workflow_type="feature", workflow_name="One"
        ),
        event(
            E.WORKFLOW_STARTED, workflow_id="w2", at=2, workflow_type="import", workflow_name="Two"
        ),
        event(E.WORKFLOW_FAILED, workflow_id="w2", at=3),
        event(
            E.WORKFLOW_CREATED, workflow_id="w3", at=3, workflow_type="feature", workflow_name="one"
        ),
    )


@pytest.mark.parametrize(
    ("query", "order", "expected"),
    [
        ("", "", ["w3", "w2", "w1"]),
        ("", "create_time", ["w1", "w2", "w3"]),
        ("", "start_time desc", ["w2", "w1", "w3"]),
        ("", "start_time", ["w1", "w2", "w3"]),
        ("", "name", ["w1", "w2", "w3"]),
        ("", "state desc", ["w2", "w1", "w3"]),
        ("", "update_time asc", ["w1", "w2", "w3"]),
        ("state = failed", "", ["w2"]),
        ("type=feature AND NOT state=QUEUED", "", ["w1"]),
        ("ONE", "", ["w3", "w1"]),
        ("start_time > -1h", "", ["w2", "w1"]),
        ("start_time > 2100-01-01T00:00:00Z", "", []),
        ("NOT end_time:*", "", ["w3", "w1"]),
    ],
)
async def test_workflows_are_filtered_and_ordered(
    station: Station, query: str, order: str, expected: list[str]
) -> None:
    await three(station)
    assert await listed(station, 1, filter=query, order_by=order) == expected


async def test_states_are_counted_without_regard_to_the_state_asked_for(station: Station) -> None:
    await three(station)
    page = await station.workflows.page(PageRequest(1, "", "type=feature state=QUEUED"))
    assert page.counts == {WorkflowState.QUEUED: 1, WorkflowState.RUNNING: 1}
    assert not page.capped


async def test_pages_are_complete_and_repeat_nothing_while_rows_change(station: Station) -> None:
    chance = random.Random(1)
    names = [f"w{number:03}" for number in range(60)]
    await station.report(
        *(event(E.WORKFLOW_CREATED, workflow_id=name, at=n // 7) for n, name in enumerate(names))
    )
    ids: list[str] = []
    token = ""
    while True:
        page = await station.workflows.page(PageRequest(7, token))
        ids += [view.record.id for view in page.workflows]
        changed = chance.sample(names, 5)
        await station.report(
            *(event(E.WORKFLOW_STARTED, workflow_id=name, at=100) for name in changed)
        )
        await station.report(event(E.WORKFLOW_CREATED, workflow_id=f"new-{len(ids)}", at=200))
        token = page.next_token
        if not token:
            break
    assert sorted(ids) == names


async def test_what_does_not_fit_is_refused_by_name(station: Station) -> None:
    await three(station)
    token = (await station.workflows.page(PageRequest(1))).next_token
    page = station.workflows.page
    for request in (
        PageRequest(1, token, "state=RUNNING"),
        PageRequest(1, token, order_by="name"),
        PageRequest(1, "nonsense"),
        PageRequest(1, "é"),
        PageRequest(1, token[:-2]),
    ):
        with pytest.raises(InvalidPageToken):
            await page(request)
    with pytest.raises(InvalidPageToken):
        await station.events.page(PageRequest(1, token), ascending=True)
    with pytest.raises(InvalidArgument, match="one of create_time"):
        await page(PageRequest(1, order_by="id; DROP TABLE workflows"))
    with pytest.raises(InvalidFilter):
        await page(PageRequest(1, filter="x=1"))
    with pytest.raises(NotFound):
        await station.workflows.get("w9")
    with pytest.raises(NotFound):
        await station.agents.get("w9")


async def updates(
    source: WatchSource[T], station: Station, token: str = "", **options: Any
) -> AsyncGenerator[Update[T], None]:
    async for update in watch(source, station.changes, token, **({"backlog": 0} | options)):
        yield update


async def until_caught_up(stream: AsyncIterator[Update[T]]) -> tuple[list[T], str]:
    items: list[T] = []
    async for update in stream:
        match update:
            case Items():
                items += [item for _token, item in update.items]
            case CaughtUp(token=token):
                return items, token
            case Heartbeat() | Reset():
                pytest.fail(f"came before the end of the backlog: {update}")
    pytest.fail("the watch ended")


async def next_items(stream: AsyncIterator[Update[T]]) -> list[T]:
    async with asyncio.timeout(10):
        async for update in stream:
            if isinstance(update, Items):
                return [item for _token, item in update.items]
    pytest.fail("the watch ended")


async def test_a_watch_shows_the_backlog_then_each_change_and_goes_on_from_a_token(
    station: Station,
) -> None:
    await three(station)
    async with aclosing(updates(station.workflows.follow(""), station, backlog=2)) as stream:
        backlog, token = await until_caught_up(stream)
        assert [view.record.id for view in backlog] == ["w2", "w3"]
        await station.report(event(E.WORKFLOW_COMPLETED, workflow_id="w1", at=9))
        (view,) = await next_items(stream)
        assert (view.record.id, view.record.state) == ("w1", WorkflowState.COMPLETED)
    async with aclosing(updates(station.workflows.follow(""), station, token)) as stream:
        again, _token = await until_caught_up(stream)
        assert [view.record.id for view in again] == ["w1"]


async def test_a_workflow_that_leaves_the_filter_is_shown_once_more(station: Station) -> None:
    await three(station)
    async with aclosing(
        updates(station.workflows.follow("state=RUNNING"), station, backlog=9)
    ) as stream:
        backlog, _token = await until_caught_up(stream)
        assert [view.record.id for view in backlog] == ["w1"]
        await station.report(
            event(E.WORKFLOW_COMPLETED, workflow_id="w1", at=9),
            event(E.WORKFLOW_CANCELLED, workflow_id="w3", at=9),
        )
        assert [view.record.state for view in await next_items(stream)] == [WorkflowState.COMPLETED]
        await station.report(
            event(E.STAGE_STARTED, workflow_id="w1", at=10, stage="late"),
            event(E.WORKFLOW_STARTED, workflow_id="w4", at=10),
        )
        assert [view.record.id for view in await next_items(stream)] == ["w4"]


async def test_a_token_of_another_history_resets(station: Station) -> None:
    await three(station)
    _items, token = await until_caught_up(updates(station.workflows.follow(""), station))
    ours, mark, _first = token.split(".")
    for foreign in (f"{'0' * 32}.1", f"{ours}.{int(mark) + 1}"):
        stream = updates(station.workflows.follow(""), station, foreign, backlog=9)
        assert isinstance(await anext(stream), Reset)
        items, _token = await until_caught_up(stream)
        assert len(items) == 3
    for garbage in ("x", ".", f"{ours}.", f"{ours}.-1", f"{ours}.٣", f"{ours}.{'9' * 30}"):
        with pytest.raises(InvalidResumeToken):
            await anext(updates(station.workflows.follow(""), station, garbage))


async def test_a_quiet_watch_has_a_heartbeat_with_a_token(station: Station) -> None:
    stream = updates(station.workflows.follow(""), station, heartbeat=0.01)
    _items, token = await until_caught_up(stream)
    assert await anext(stream) == Heartbeat(token)


async def test_events_are_replayed_and_followed_without_a_seam(station: Station) -> None:
    for number in range(30):
        await station.report(event(E.LOG, id=f"{number}", message="x" if number % 2 else "y"))
    async with aclosing(updates(station.events.follow(""), station, backlog=10)) as stream:
        backlog, token = await until_caught_up(stream)
        assert [stored_to_proto(each).id for each in backlog] == [str(n) for n in range(20, 30)]

    async def report_more() -> None:
        for number in range(30, 400):
            await station.report(event(E.LOG, id=f"{number}", message="x" if number % 2 else "y"))

    async with (
        asyncio.TaskGroup() as tasks,
        aclosing(updates(station.events.follow("x"), station, token)) as stream,
    ):
        tasks.create_task(report_more())
        found: list[str] = []
        while len(found) < 185:
            found += [stored_to_proto(each).id for each in await next_items(stream)]
    assert found == [str(number) for number in range(31, 400, 2)]


async def test_events_are_listed_both_ways_and_found_by_what_they_say(station: Station) -> None:
    await station.report(
        *(
            event(E.LOG, id=f"{number}", message=f"Message {number}", severity=number % 5 + 1)
            for number in range(10)
        )
    )

    async def ids(query: str, *, ascending: bool) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            page = await station.events.page(PageRequest(3, token, query), ascending=ascending)
            found += [stored_to_proto(each).id for each in page.events]
            token = page.next_token
            if not token:
                return found

    everything = [str(number) for number in range(10)]
    assert await ids("", ascending=True) == everything
    assert await ids("", ascending=False) == everything[::-1]
    assert await ids("message:AGE OR nothing", ascending=True) == everything
    assert await ids('"message 7"', ascending=True) == ["7"]
    assert await ids("severity >= ERROR", ascending=True) == ["3", "4", "8", "9"]
    assert await ids("type:workflow", ascending=True) == []


async def test_agents_are_listed_by_what_they_are_now(station: Station) -> None:
    await station.report(
        event(E.AGENT_HEARTBEAT, agent_id="b1", agent_type="builder", load=AgentLoad(0, 2)),
        event(E.AGENT_HEARTBEAT, agent_id="b2", agent_type="builder", load=AgentLoad(2, 2), at=20),
        event(E.AGENT_DRAINING, agent_id="t1", agent_type="tester", at=20),
        event(E.WORKFLOW_STARTED, workflow_id="w"),
        event(E.TASK_STARTED, task_id="t", agent_id="b2", at=1),
        event(E.TASK_STARTED, task_id="u", agent_id="unheard", at=1),
    )

    async def states(query: str = "") -> dict[str, AgentState]:
        found: dict[str, AgentState] = {}
        token = ""
        while True:
            page = await station.agents.page(PageRequest(1, token, query))
            found |= {view.record.id: view.state for view in page.agents}
            token = page.next_token
            if not token:
                return found

    online, busy, draining, offline = AgentState
    assert await states() == {"b1": online, "b2": busy, "t1": draining}
    station.clock.us = NOON + 31 * SECOND
    assert await states() == {"b1": offline, "b2": busy, "t1": draining}
    assert await states("state=offline") == {"b1": offline}
    assert await states("type:BUILD NOT state=OFFLINE") == {"b2": busy}
    view = (await station.agents.get("b2")).view
    assert (view.workflow_id, view.task_id) == ("w", "t")
    await station.report(event(E.WORKFLOW_CANCELLED, workflow_id="w", at=21))
    assert (await station.agents.get("b2")).view.task_id == ""


async def test_those_who_watch_agents_hear_when_one_falls_silent(station: Station) -> None:
    await station.report(event(E.AGENT_HEARTBEAT, agent_id="a"))
    async with aclosing(updates(station.agents.follow(), station)) as stream:
        (view,), _token = await until_caught_up(stream)
        assert view.state == AgentState.ONLINE
        station.clock.us = NOON + 31 * SECOND
        assert await station.store.mark_overdue(NOON + SECOND, 10) == 1
        station.changes.notify()
        (view,) = await next_items(stream)
        assert (view.state, view.offline_reason) == (
            AgentState.OFFLINE,
            "no heartbeat for more than 30 s",
        )
        await station.report(event(E.AGENT_HEARTBEAT, agent_id="a", at=32))
        (view,) = await next_items(stream)
        assert view.state == AgentState.ONLINE


async def test_everything_about_a_workflow_over_the_wire(
    channel: grpc.aio.Channel, station: Station
) -> None:
    events = events_pb2_grpc.EventServiceStub(channel)
    workflows = workflows_pb2_grpc.WorkflowServiceStub(channel)
    agents = agents_pb2_grpc.AgentServiceStub(channel)
    base: dict[str, Any] = {"workflow_id": "w", "source": "engine"}
    plan = ["build", "test"]
    usage = events_pb2.Usage(input_tokens=7)
    published = [
        events_pb2.Event(type=events_pb2.EVENT_TYPE_WORKFLOW_STARTED, stage_plan=plan, **base),
        events_pb2.Event(type=events_pb2.EVENT_TYPE_STAGE_STARTED, stage="build", **base),
        events_pb2.Event(
            type=events_pb2.EVENT_TYPE_TASK_STARTED, task_id="t", agent_id="a", usage=usage, **base
        ),
        events_pb2.Event(type=events_pb2.EVENT_TYPE_AGENT_HEARTBEAT, agent_id="a"),
    ]
    watching = workflows.WatchWorkflows(pb.WatchWorkflowsRequest(backlog=5))
    following = events.WatchEvents(events_pb2.WatchEventsRequest())
    first = await watching.read()
    assert isinstance(first, pb.WatchWorkflowsResponse)
    assert first.WhichOneof("update") == "caught_up"
    await following.read()
    await events.PublishEvents(events_pb2.PublishEventsRequest(events=published))
    seen = await watching.read()
    assert isinstance(seen, pb.WatchWorkflowsResponse)
    workflow = seen.workflow
    assert (workflow.id, workflow.state, workflow.agent_id) == (
        "w",
        enums_pb2.WORKFLOW_STATE_RUNNING,
        "a",
    )
    assert [stage.name for stage in workflow.stages] == plan
    assert {action.available for action in workflow.actions} == {False}
    assert workflow.usage == usage
    followed = await following.read()
    assert isinstance(followed, events_pb2.WatchEventsResponse)
    assert len(followed.batch.events) == 4
    detail = await workflows.GetWorkflow(pb.GetWorkflowRequest(workflow_id="w"))
    assert detail.workflow == workflow
    assert [task.id for task in detail.tasks] == ["t"]
    assert [event.workflow_id for event in detail.events] == ["w", "w", "w"]
    found = await agents.ListAgents(agents_pb2.ListAgentsRequest())
    assert [(agent.id, agent.workflow_id, agent.task_id) for agent in found.agents] == [
        ("a", "w", "t")
    ]
    page = await workflows.ListWorkflows(pb.ListWorkflowsRequest(filter="state=RUNNING"))
    assert [(count.state, count.count) for count in page.state_counts] == [
        (enums_pb2.WORKFLOW_STATE_RUNNING, 1)
    ]
    watching.cancel()
    following.cancel()


async def test_a_watch_that_is_given_up_leaves_nothing_running(channel: grpc.aio.Channel) -> None:
    before = len(asyncio.all_tasks())
    watching = agents_pb2_grpc.AgentServiceStub(channel).WatchAgents(
        agents_pb2.WatchAgentsRequest()
    )
    await watching.read()
    watching.cancel()
    await wait_until(lambda: len(asyncio.all_tasks()) <= before)


async def test_usage_beyond_the_contract_is_its_largest_number(station: Station) -> None:
    huge = Usage((1 << 64) - 1, 0, 0)
    await station.report(event(E.LOG, usage=huge), event(E.LOG, usage=huge))
    shown = workflow_to_proto((await station.workflows.get("w")).view)
    assert shown.usage.input_tokens == (1 << 64) - 1


async def test_a_watcher_for_people_is_sent_the_newest_and_told_how_many_it_is_not(
    station: Station,
) -> None:
    for number in range(100):
        await station.report(event(E.LOG, id=f"{number}"))
    allowance = Allowance(4, station.clock)
    newest = event(E.LOG, id="newest")

    async with aclosing(
        updates(station.events.follow("", allowance), station, backlog=100)
    ) as all_:
        first = await anext(all_)
        assert isinstance(first, Items)
        await station.report(newest)
        found = [stored_to_proto(each).id for _, each in first.items]

    assert first.skipped == 80
    assert found == [str(number) for number in range(80, 100)]
