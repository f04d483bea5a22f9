"""Workers, what they take work from, and what is restored from the server."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from pilothouse.v1.agents_pb2 import Agent
from pilothouse.v1.commands_pb2 import Command, CommandScope
from pilothouse.v1.enums_pb2 import AgentState, ControlAction
from pilothouse.v1.events_pb2 import Event, EventType
from pilothouse.v1.queues_pb2 import Queue, QueueState
from pilothouse_server.__main__ import main
from pilothouse_server.connectors.celery import asking
from pilothouse_server.connectors.celery.broker import Broker, BrokerAway, NoApp, Outcome
from pilothouse_server.connectors.celery.canvas import Canvases
from pilothouse_server.connectors.celery.recall import desired_of
from pilothouse_server.connectors.celery.records import Found, TaskSeen
from pilothouse_server.connectors.celery.signals import (
    TaskKind,
    TaskSignal,
    WorkerKind,
    WorkerSignal,
    ident,
    read,
)
from pilothouse_server.connectors.celery.workers import (
    MAX_GONE,
    SILENT_US,
    Workers,
    packed,
    unpacked,
)
from tests.support import free_port

HOST = "gpu@h"


def online(*queues: str) -> Workers:
    """One worker that takes work from these."""
    workers = Workers("celery")
    workers.answered(HOST, 1, queues=queues)
    return workers


def kinds(events: list[Event]) -> list[str]:
    """Kind and queue of each."""
    return [f"{EventType.Name(each.type)[11:]} {each.queue}".strip() for each in events]


def test_queues_are_told_once_and_when_they_change() -> None:
    workers = online("a", "b")
    assert kinds(workers.queue_states(1)) == ["QUEUE_ACTIVE", "QUEUE_ACTIVE a", "QUEUE_ACTIVE b"]
    assert workers.queue_states(2) == []
    workers.answered(HOST, 3, queues=["b"])
    assert kinds(workers.queue_states(3)) == ["QUEUE_PAUSED a"]


def test_a_hold_leaves_the_states_of_queues_as_they_were() -> None:
    workers = online("a")
    workers.queue_states(1)
    workers.desired.hold = True
    workers.answered(HOST, 2, queues=[])
    assert workers.held
    assert workers.queue_states(2) == []
    assert workers.should_take(workers.all[HOST]) == set()


def test_a_queue_whose_workers_drain_is_not_paused() -> None:
    workers = online("a")
    workers.queue_states(1)
    workers.desired.draining.add(HOST)
    workers.answered(HOST, 2, queues=[])
    assert workers.queue_states(2) == []


def test_heartbeats_are_told_when_something_changes_and_now_and_then() -> None:
    workers = online("a")
    beat = WorkerSignal(WorkerKind.HEARTBEAT, HOST, 1, active=1)
    assert kinds(workers.apply(beat, 1)[0]) == ["AGENT_HEARTBEAT"]
    assert workers.apply(beat, 2) == ([], False)
    assert kinds(workers.apply(beat, 20_000_000)[0]) == ["AGENT_HEARTBEAT"]


def test_a_worker_that_comes_back_is_looked_at_again_and_keeps_its_home() -> None:
    workers = online("a")
    offline, _ = workers.apply(WorkerSignal(WorkerKind.OFFLINE, HOST, 1), 1)
    assert kinds(offline) == ["AGENT_OFFLINE"]
    assert workers.apply(WorkerSignal(WorkerKind.ONLINE, HOST, 2), 2) == ([], True)
    assert workers.all[HOST].home == {"a"}


def test_workers_that_are_gone_are_forgotten_when_they_are_many() -> None:
    workers = online("a")
    workers.desired.draining.add("w1@h")
    for number in range(MAX_GONE + 10):
        host = f"w{number}@h"
        workers.apply(WorkerSignal(WorkerKind.ONLINE, host, 1), number)
        workers.apply(WorkerSignal(WorkerKind.OFFLINE, host, 1), number)
    assert len(workers.all) <= MAX_GONE
    assert {HOST, "w1@h", f"w{MAX_GONE}@h"} <= set(workers.all)
    assert "w2@h" not in workers.all


def test_a_worker_that_falls_silent_is_gone_unless_nobody_could_be_heard() -> None:
    workers = online("a")
    workers.heard_all(SILENT_US)
    assert workers.silent(SILENT_US + 2, 1) == []
    assert kinds(workers.silent(2 * SILENT_US + 1, 1)) == ["AGENT_OFFLINE"]


def test_homes_survive_in_the_attributes_of_events() -> None:
    homes = {f"w{n}@h": {f"queue-{m}" for m in range(20)} for n in range(60)}
    attributes = packed(homes)
    assert unpacked(attributes) == homes
    assert max(len(each) for each in attributes.values()) <= 4096
    assert unpacked({"homes": "no json", "homes.1": "[]", "other": "{}"}) == {}


def test_what_operators_asked_for_is_read_from_queues_and_commands() -> None:
    action, pool = ControlAction, CommandScope.COMMAND_SCOPE_POOL
    paused, by = QueueState.QUEUE_STATE_PAUSED, Command(id="c")
    queues = [
        Queue(name="a", state=paused, paused_by=by),
        Queue(name="by hand", state=paused),
        Queue(name="b", state=QueueState.QUEUE_STATE_ACTIVE),
    ]
    newest_first = [
        Command(scope=pool, agent_id="x", action=action.CONTROL_ACTION_ACTIVATE),
        Command(scope=pool, agent_id="y", action=action.CONTROL_ACTION_DRAIN),
        Command(scope=pool, agent_id="x", action=action.CONTROL_ACTION_DRAIN),
    ]
    agents = [Agent(id=each, state=AgentState.AGENT_STATE_DRAINING) for each in ("x", "z")]
    desired = desired_of(queues, agents, newest_first)
    assert (desired.paused, desired.hold, desired.draining) == ({"a"}, False, {"y", "z"})
    everything = [Queue(state=paused, paused_by=by)]
    assert desired_of(everything, [], []).hold


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "task-received", "uuid": "a"},
        {"type": "task-received", "timestamp": 1.0},
        {"type": "task-received", "timestamp": float("nan"), "uuid": "a"},
        {"type": "task-received", "timestamp": True, "uuid": "a"},
        {"type": "worker-heartbeat", "timestamp": 1.0, "hostname": 5},
        {"type": ["task-sent"], "timestamp": 1.0},
        {"type": "of our own", "timestamp": 1.0, "uuid": "a"},
    ],
)
def test_what_cannot_be_read_says_nothing(body: dict[str, Any]) -> None:
    assert read({"hostname": "w@h", **body}) is None


def test_identifiers_that_the_contract_would_refuse_become_their_digest() -> None:
    assert ident("héllo") == "héllo"
    assert ident("a\nb") == ident("a\nb") != ident("a\nc")
    assert len(ident("x" * 300)) < 256
    signal = read({"type": "task-received", "timestamp": 1.0, "uuid": "a", "retries": "many"})
    assert isinstance(signal, TaskSignal)
    assert signal.retries == 0


def test_a_task_that_no_worker_has_is_missed_only_when_it_should_be_there() -> None:
    workers, canvases = online("a"), Canvases("celery")
    for kind in (TaskKind.RECEIVED, TaskKind.STARTED):
        canvases.apply(TaskSignal(kind, "t", HOST, 1, name="t", root="t"), 1)
    seen = asking.Round(hosts={HOST})
    late = 10_000_000
    assert asking.missing(canvases, workers, seen, 2) == [], "it was heard of just now"
    assert asking.missing(canvases, workers, seen, late) == []
    assert [each.uuid for each in asking.missing(canvases, workers, seen, late)] == ["t"]
    canvases.tasks["t"].missing = 0
    workers.apply(WorkerSignal(WorkerKind.OFFLINE, HOST, 1), 1)
    for _ in range(5):
        assert asking.missing(canvases, workers, asking.Round(), late) == [], (
            "it finishes what it has"
        )


def test_only_a_task_that_waited_while_events_were_missed_may_have_ended_unheard() -> None:
    canvases = Canvases("celery")
    for uuid, now in (("waited", 1), ("began", 1), ("is there", 1), ("came later", 20)):
        canvases.apply(TaskSignal(TaskKind.RECEIVED, uuid, HOST, 1, name="t", root=uuid), now)
    canvases.apply(TaskSignal(TaskKind.STARTED, "began", HOST, 1), 1)
    seen = asking.Round(hosts={HOST}, tasks={"is there": Found("is there", "t", HOST, False)})
    assert [each.uuid for each in asking.unheard(canvases, seen, 10, 5)] == ["waited"]
    assert asking.unheard(canvases, seen, 0, 5) == []
    assert [Outcome(each).ended for each in ("PENDING", "STARTED", "REVOKED")] == [
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("outcome", "kind", "code"),
    [
        (Outcome("SUCCESS"), "TASK_COMPLETED", ""),
        (Outcome("REVOKED"), "TASK_CANCELLED", ""),
        (Outcome("FAILURE", "KeyError('x')"), "TASK_FAILED", "KeyError"),
        (Outcome("STARTED"), "TASK_FAILED", "WORKER_LOST"),
        (None, "TASK_FAILED", "WORKER_LOST"),
    ],
)
def test_the_result_backend_says_how_a_missing_task_ended(
    outcome: Outcome | None, kind: str, code: str
) -> None:
    found, error = asking.supposed(TaskSeen("t", "t"), Workers("celery"), outcome)
    assert EventType.Name(found)[11:] == kind
    assert (error.code if error else "") == code


def test_an_app_that_is_not_there_is_named() -> None:
    with pytest.raises(NoApp, match="no_such_module:app is no Celery app"):
        Broker("", app="no_such_module:app")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say where the tasks are"),
        (["--app", "no_such_module:app"], "no_such_module:app is no Celery app"),
    ],
)
def test_a_command_that_cannot_be_run_says_why_and_is_not_to_be_tried_again(
    words: list[str], said: str
) -> None:
    result = CliRunner().invoke(main, ["connect", "celery", *words])
    assert result.exit_code == 2
    assert said in result.output


async def test_a_broker_that_is_not_there_is_said_at_the_start() -> None:
    async with Broker(f"redis://127.0.0.1:{free_port()}/0") as broker:
        with pytest.raises(BrokerAway, match="refused"):
            await broker.listen()
