"""Both clients: typed errors, deadlines, retries that do nothing twice, lists, handles, and watches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

import grpc
import pytest

import pilothouse
from pilothouse import aio, errors
from pilothouse.retry import Attempts, Backoff, RetryPolicy
from pilothouse.v1.agents_pb2 import Agent, ListAgentsRequest
from pilothouse.v1.alerts_pb2 import ALERT_STATE_FIRING, ALERT_STATE_RESOLVED, Alert
from pilothouse.v1.commands_pb2 import COMMAND_STATE_EFFECTIVE, COMMAND_STATE_FAILED, Command
from pilothouse.v1.enums_pb2 import CONTROL_ACTION_PAUSE
from pilothouse.v1.events_pb2 import (
    EVENT_TYPE_LOG,
    Event,
    PublishEventRequest,
    PublishEventsRequest,
)
from pilothouse.v1.metrics_pb2 import MetricsSnapshot
from pilothouse.v1.workflows_pb2 import ControlWorkflowRequest, Workflow
from pilothouse.watching import CaughtUp, Interruption, Item, WatchOptions
from tests.client.support import NOBODY, Failure, Server
from tests.support import wait_until

T = TypeVar("T")

QUICK_RETRY = RetryPolicy(initial_delay=0.01, max_delay=0.05)


async def blocking(server: Server, work: Callable[[pilothouse.Client], T]) -> T:
    """The answer of `work` with a synchronous client, in a thread: the server needs the loop."""

    def run() -> T:
        with pilothouse.Client(server.target, retry=QUICK_RETRY) as client:
            return work(client)

    return await asyncio.to_thread(run)


async def test_a_control_gives_a_handle_that_waits_for_the_effect(
    server: Server, client: aio.Client
) -> None:
    server.workflows["wf-1"] = Workflow(id="wf-1", source="engine")
    handle = await client.workflow("wf-1").pause(reason="deploy")
    assert handle.command is not None
    assert handle.command.reason == "deploy"
    waiting = asyncio.create_task(handle.wait(timeout=30))
    await wait_until(lambda: len(server.requests("GetCommand")) > 1)
    server.commands[handle.id].state = COMMAND_STATE_EFFECTIVE
    assert (await waiting).state == COMMAND_STATE_EFFECTIVE


async def test_waiting_for_a_command_that_fails_raises_why(
    server: Server, client: aio.Client
) -> None:
    command = server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine")
    command.state = COMMAND_STATE_FAILED
    command.error.message = "the engine is on fire"
    with pytest.raises(errors.CommandNotEffective, match="on fire"):
        await client.command(command.id).wait()


async def test_waiting_has_a_deadline_in_both_clients(server: Server, client: aio.Client) -> None:
    command = server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine")
    with pytest.raises(TimeoutError):
        await client.command(command.id).wait(timeout=0.2)
    with pytest.raises(TimeoutError):
        await blocking(server, lambda each: each.command(command.id).wait(timeout=0.2))


async def test_a_lost_answer_leaves_one_command(server: Server, client: aio.Client) -> None:
    server.workflows["wf-1"] = Workflow(id="wf-1", source="engine")
    server.fail("ControlWorkflow", Failure(when="after"), Failure(when="after"))
    await client.workflow("wf-1").pause()
    asked = [
        each
        for each in server.requests("ControlWorkflow")
        if isinstance(each, ControlWorkflowRequest)
    ]
    assert len(asked) == 3
    assert len({each.request_id for each in asked}) == 1
    assert len(server.commands) == 1


async def test_events_get_ids_before_the_first_try(server: Server, client: aio.Client) -> None:
    server.fail("PublishEvents", Failure(when="after"))
    request = PublishEventsRequest(
        events=[Event(type=EVENT_TYPE_LOG), Event(type=EVENT_TYPE_LOG, id="own")]
    )
    await client.events.PublishEvents(request)
    assert len(server.events) == 2
    assert "own" in server.events
    assert [event.id for event in request.events] == ["", "own"], "the caller's message is its own"
    server.fail("PublishEvent", Failure(when="after"))
    await client.events.PublishEvent(PublishEventRequest(event=Event(type=EVENT_TYPE_LOG)))
    assert len(server.events) == 3


async def test_retries_end(server: Server, client: aio.Client) -> None:
    server.fail("ListAgents", *[Failure()] * 10)
    with pytest.raises(errors.Unavailable, match="on purpose"):
        await client.agents.ListAgents(ListAgentsRequest())
    assert len(server.requests("ListAgents")) == RetryPolicy().attempts


async def test_a_call_tells_how_it_ended(server: Server, client: aio.Client) -> None:
    server.fail("ListAgents", Failure())
    call = client.agents.ListAgents(ListAgentsRequest())
    assert await call.code() == grpc.StatusCode.OK
    assert call.done()
    assert not call.cancelled()
    await call


async def test_a_deadline_is_a_typed_error(server: Server) -> None:
    server.faults.hold = True
    async with aio.Client(server.target, timeout=0.1) as client:
        with pytest.raises(errors.DeadlineExceeded):
            await client.agents.ListAgents(ListAgentsRequest())
    server.faults.hold = False


async def test_no_snapshot_is_an_answer_and_not_retried(server: Server, client: aio.Client) -> None:
    with pytest.raises(errors.NoSnapshot):
        await client.get_metrics()
    assert len(server.requests("GetMetrics")) == 1
    server.snapshot = MetricsSnapshot(sequence=7)
    assert (await client.get_metrics()).sequence == 7
    assert (await blocking(server, lambda each: each.get_metrics())).sequence == 7


REFUSALS = [
    (
        Failure(
            grpc.StatusCode.FAILED_PRECONDITION,
            "not now",
            "ILLEGAL_TRANSITION",
            {"state": "COMPLETED", "action": "PAUSE", "legal_actions": "RESUME, CANCEL"},
        ),
        errors.IllegalTransition,
    ),
    (
        Failure(
            grpc.StatusCode.FAILED_PRECONDITION, "busy", "COMMAND_PENDING", {"command_id": "c"}
        ),
        errors.CommandPending,
    ),
    (Failure(grpc.StatusCode.ABORTED, "stale", "ETAG_MISMATCH"), errors.EtagMismatch),
    (
        Failure(
            grpc.StatusCode.INVALID_ARGUMENT,
            "bad",
            "INVALID_ARGUMENT",
            violations=[("event.id", "too long")],
        ),
        errors.InvalidArgument,
    ),
    (Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "big", "LIMIT_EXCEEDED"), errors.LimitExceeded),
    (Failure(grpc.StatusCode.INTERNAL, "oops", "INTERNAL"), errors.ServerFault),
    (Failure(grpc.StatusCode.NOT_FOUND, "gone", "A_REASON_OF_TOMORROW"), errors.NotFound),
    (Failure(grpc.StatusCode.UNAUTHENTICATED, "who are you"), errors.Unauthenticated),
]


@pytest.mark.parametrize(
    ("failure", "kind"), REFUSALS, ids=lambda each: str(getattr(each, "reason", ""))
)
async def test_a_refusal_is_an_error_of_its_own_class_in_both_clients(
    server: Server, client: aio.Client, failure: Failure, kind: type[errors.CallError]
) -> None:
    server.fail("ListAgents", failure, failure)
    with pytest.raises(kind) as of_aio:
        await client.agents.ListAgents(ListAgentsRequest())
    with pytest.raises(kind) as of_sync:
        await blocking(server, lambda each: each.agents.ListAgents(ListAgentsRequest()))
    for error in (of_aio.value, of_sync.value):
        assert type(error) is kind
        assert error.code == failure.code
        assert error.reason == failure.reason
        assert error.message == failure.message
        assert dict(error.metadata) == dict(failure.metadata)
        assert [(each.field, each.description) for each in error.violations] == list(
            failure.violations
        )


async def test_an_illegal_transition_says_what_is_legal(server: Server, client: aio.Client) -> None:
    server.workflows["wf-1"] = Workflow(id="wf-1")
    server.fail("ControlWorkflow", REFUSALS[0][0])
    with pytest.raises(errors.IllegalTransition) as caught:
        await client.workflow("wf-1").pause()
    assert (caught.value.state, caught.value.action) == ("COMPLETED", "PAUSE")
    assert caught.value.legal_actions == ("RESUME", "CANCEL")


def test_details_that_cannot_be_read_are_left_out() -> None:
    garbage = [("grpc-status-details-bin", b"\xff\xff\xff")]
    error = errors.from_status(grpc.StatusCode.NOT_FOUND, "gone", garbage)
    assert isinstance(error, errors.NotFound)
    assert error.reason == ""


def test_every_reason_of_the_contract_has_a_class() -> None:
    from pilothouse.v1.error_reason_pb2 import ErrorReason

    names = {
        name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name
    } - {"UNSPECIFIED"}
    assert names == set(errors.BY_REASON)


async def test_a_rate_limit_is_waited_for(server: Server, client: aio.Client) -> None:
    limit = Failure(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", "RATE_LIMITED", retry_after=0.2
    )
    server.fail("ListAgents", limit)
    began = asyncio.get_running_loop().time()
    await client.agents.ListAgents(ListAgentsRequest())
    assert asyncio.get_running_loop().time() - began >= 0.2


def test_a_retry_that_would_end_after_the_deadline_is_not_begun() -> None:
    attempts = Attempts(RetryPolicy(initial_delay=1, max_delay=1), repeatable=True, deadline=10.2)
    error = errors.from_status(grpc.StatusCode.UNAVAILABLE, "away")
    assert attempts.after(error, 9.0) is not None
    assert attempts.after(error, 10.0) is None


def test_backoff_doubles_to_its_limit_with_jitter() -> None:
    certain = Backoff(0.1, 1.0, chance=lambda: 1.0)
    assert [round(certain.next(), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    lucky = Backoff(0.1, 1.0, chance=lambda: 0.0)
    assert [round(lucky.next(), 3) for _ in range(3)] == [0.05, 0.1, 0.2]
    assert lucky.next(at_least=3.0) == 3.0


async def test_a_list_is_read_page_by_page(server: Server, client: aio.Client) -> None:
    for number in range(250):
        server.agents.add(Agent(id=str(number)))
    every = [agent.id async for agent in client.list_agents()]
    assert every == [str(number) for number in range(250)]
    assert [agent.id async for agent in client.list_agents(limit=130)] == every[:130]
    assert await blocking(server, lambda each: [agent.id for agent in each.list_agents()]) == every
    assert [agent async for agent in client.list_agents(limit=0)] == []


async def test_an_alert_is_taken_care_of(server: Server, client: aio.Client) -> None:
    server.alerts.add(Alert(id="a-1", state=ALERT_STATE_FIRING))
    assert (await client.alert("a-1").acknowledge(comment="mine")).acknowledge_comment == "mine"
    assert (await client.alert("a-1").resolve(reason="done")).state == ALERT_STATE_RESOLVED
    assert (await client.alert("a-1").get()).id == "a-1"


async def test_the_synchronous_client_steers_too(server: Server) -> None:
    server.workflows["wf-1"] = Workflow(id="wf-1", source="engine")
    server.fail("ControlWorkflow", Failure(when="after"))

    def work(client: pilothouse.Client) -> Command:
        handle = client.workflow("wf-1").pause()
        server.commands[handle.id].state = COMMAND_STATE_EFFECTIVE
        return handle.wait(timeout=30)

    assert (await blocking(server, work)).state == COMMAND_STATE_EFFECTIVE
    assert len(server.commands) == 1


async def test_a_synchronous_watch_loses_and_repeats_nothing(server: Server) -> None:
    got: list[str] = []
    marks: list[CaughtUp] = []

    def work(client: pilothouse.Client) -> None:
        with closing(iter(client.watch_agents(options=WatchOptions(max_delay=0.05)))) as updates:
            for update in updates:
                if isinstance(update, Item):
                    got.append(update.value.id)
                elif isinstance(update, CaughtUp):
                    marks.append(update)
                if len(got) == 20:
                    return

    task = asyncio.create_task(blocking(server, work))
    for number in range(20):
        server.agents.add(Agent(id=str(number)))
        if number % 5 == 4 and number < 19:
            # The mark comes behind the fifth: a break between the two would put it off.
            await wait_until(lambda: marks and got[-1:] == [str(number)])  # noqa: B023
            server.break_streams()
    await task
    assert got == [str(number) for number in range(20)]
    assert len(marks) == 1


async def test_a_synchronous_watch_notices_silence_and_leaves_no_thread(server: Server) -> None:
    told: list[Interruption] = []
    options = WatchOptions(silence=0.2, max_delay=0.05, on_interruption=told.append)
    server.faults.stall = True

    def work(client: pilothouse.Client) -> str:
        with closing(client.watch_agents(options=options).items()) as agents:
            return next(agents).id

    task = asyncio.create_task(blocking(server, work))
    await wait_until(lambda: told)
    server.faults.stall = False
    server.agents.add(Agent(id="there"))
    assert await task == "there"
    assert told[0].reason == "nothing came for 0.2 s"
    assert not [each for each in threading.enumerate() if each.name == "pilothouse-watchdog"]


@pytest.fixture
def away() -> Iterator[pilothouse.Client]:
    """A client of a server that is not there."""
    with pilothouse.Client(NOBODY, retry=QUICK_RETRY) as client:
        yield client


def test_a_server_that_is_not_there_is_unavailable(away: pilothouse.Client) -> None:
    with pytest.raises(errors.Unavailable):
        away.get_metrics()
