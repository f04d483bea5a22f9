"""What events make of workflows, tasks and agents, in any order."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given

from pilothouse_server.domain.events import AgentLoad, Event, EventError, EventType, Usage
from pilothouse_server.domain.projection.agent import AgentRecord, AgentState
from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.projection.task import TaskRecord
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.workflows import WorkflowState
from tests.projection.build import NOON, SECOND, event, fold, histories, reorderings, seen

E = EventType


@given(reorderings())
def test_order_and_repetition_change_nothing(both: tuple[list[Event], list[Event]]) -> None:
    history, reordered = both
    assert seen(fold(history)) == seen(fold(reordered))


@given(histories)
def test_a_record_survives_being_stored(history: list[Event]) -> None:
    projection = fold(history)
    for workflow in projection.workflows.values():
        assert WorkflowRecord.loaded(workflow.id, workflow.dump()).dump() == workflow.dump()
    for task in projection.tasks.values():
        assert TaskRecord.loaded(task.workflow_id, task.id, task.dump()).dump() == task.dump()
    for agent in projection.agents.values():
        assert AgentRecord.loaded(agent.id, agent.dump()).dump() == agent.dump()


@given(histories)
def test_agents_are_credited_with_each_attempt_once(history: list[Event]) -> None:
    projection = fold(history)
    outcomes = [
        span.state
        for task in projection.tasks.values()
        for span in task.spans.values()
        if span.agent[1]
    ]
    agents = projection.agents.values()
    assert sum(agent.completed for agent in agents) == outcomes.count(WorkState.COMPLETED)
    assert sum(agent.failed for agent in agents) == outcomes.count(WorkState.FAILED)
    in_hand = [task.runner for task in projection.tasks.values() if task.runner]
    assert {agent.id: agent.running for agent in agents if agent.running} == {
        agent_id: in_hand.count(agent_id) for agent_id in in_hand
    }


def test_a_workflow_is_told_by_its_events() -> None:
    record = fold(
        [
            event(
                E.WORKFLOW_CREATED, stage_plan=("build", "test", "ship"), workflow_name="Nightly"
            ),
            event(E.WORKFLOW_STARTED, at=1, workflow_type="import", trace_id="ab"),
            event(E.STAGE_STARTED, at=2, stage="build"),
            event(E.STAGE_COMPLETED, at=5, stage="build"),
            event(E.STAGE_STARTED, at=5, stage="test"),
        ]
    ).workflows["w"]
    assert (record.state, record.attempt, record.current_stage) == (
        WorkflowState.RUNNING,
        1,
        "test",
    )
    assert (record.name[1], record.type[1], record.trace[1]) == ("Nightly", "import", "ab")
    assert (record.known_us, record.start_us) == (NOON, NOON + SECOND)
    shown = [(name, span.state, span.elapsed_us) for name, span in record.stages()]
    assert shown == [
        ("build", WorkState.COMPLETED, 3 * SECOND),
        ("test", WorkState.RUNNING, None),
        ("ship", WorkState.QUEUED, None),
    ]


def test_a_retry_shows_what_the_attempt_before_completed() -> None:
    events = [
        event(E.WORKFLOW_STARTED, attempt=1),
        event(E.STAGE_COMPLETED, at=1, stage="build", attempt=1),
        event(E.STAGE_FAILED, at=2, stage="test", attempt=1, error=EventError("RED")),
        event(E.WORKFLOW_FAILED, at=3, attempt=1, error=EventError("TESTS_FAILED")),
        event(E.WORKFLOW_RETRIED, at=4, attempt=2),
        event(E.STAGE_STARTED, at=5, stage="test", attempt=2),
    ]
    before = fold(events[:4]).workflows["w"]
    assert (before.state, before.error) == (WorkflowState.FAILED, EventError("TESTS_FAILED"))
    record = fold(events).workflows["w"]
    assert (record.state, record.attempt, record.start_us) == (WorkflowState.QUEUED, 2, None)
    assert [(name, span.state) for name, span in record.stages()] == [
        ("build", WorkState.COMPLETED),
        ("test", WorkState.RUNNING),
    ]


def test_an_error_is_shown_until_the_next_attempt_begins_or_this_one_completes() -> None:
    flaky, red = EventError("FLAKY"), EventError("RED")
    events = [
        event(E.WORKFLOW_STARTED, at=0, attempt=1),
        event(E.TASK_RETRYING, at=1, task_id="t", attempt=2, error=flaky),
        event(E.TASK_STARTED, at=2, task_id="t", attempt=2),
        event(E.WORKFLOW_FAILED, at=3, attempt=1, error=red),
        event(E.WORKFLOW_RETRIED, at=4, attempt=2),
        event(E.WORKFLOW_STARTED, at=5, attempt=2),
        event(E.TASK_RETRYING, at=6, task_id="t", attempt=4, error=flaky),
        event(E.WORKFLOW_COMPLETED, at=7, attempt=2),
    ]
    errors = [fold(events[: n + 1]).workflows["w"].error for n in range(len(events))]
    assert errors == [None, flaky, flaky, red, None, None, flaky, None]
    only_the_end_is_known = fold([events[0], event(E.WORKFLOW_FAILED, at=9, attempt=3, error=red)])
    assert only_the_end_is_known.workflows["w"].error == red


def test_usage_of_every_kind_of_event_is_added_up() -> None:
    events = [
        event(E.LOG, usage=Usage(1, 2, 3)),
        event(E.WORKFLOW_COMPLETED, usage=Usage(10, 20, 30)),
        event(E.TASK_COMPLETED, task_id="t", usage=Usage(100, 0, 0)),
    ]
    assert fold([*events, *events]).workflows["w"].usage == Usage(111, 22, 33)


def test_a_log_message_alone_makes_no_workflow() -> None:
    assert fold([event(E.LOG, message="hello"), event(E.COMMAND_REQUESTED)]).workflows == {}


def test_an_unnumbered_retry_opens_one_attempt_however_often_it_is_told() -> None:
    task = fold(
        [
            event(E.TASK_STARTED, at=0, task_id="t"),
            event(E.TASK_RETRYING, at=1, task_id="t"),
            event(E.TASK_RETRYING, at=1, task_id="t"),
            event(E.TASK_STARTED, at=2, task_id="t"),
            event(E.TASK_COMPLETED, at=3, task_id="t"),
        ]
    ).tasks["w", "t"]
    assert (task.attempt, task.state) == (2, WorkState.COMPLETED)
    assert task.newest.elapsed_us == SECOND


def test_a_retry_is_a_failure_of_the_agent_that_had_the_attempt_before() -> None:
    begin = [
        event(E.TASK_STARTED, at=0, task_id="t", agent_id="a", attempt=1),
        event(
            E.TASK_RETRYING, at=2, task_id="t", agent_id="a", attempt=2, error=EventError("FLAKY")
        ),
        event(E.TASK_FAILED, at=3, task_id="t", agent_id="a", attempt=1),
    ]
    end = [
        event(E.TASK_STARTED, at=4, task_id="t", agent_id="b", attempt=2),
        event(E.TASK_COMPLETED, at=5, task_id="t", attempt=2),
    ]
    for events in permutations(begin):
        waiting = fold(events)
        task = waiting.tasks["w", "t"]
        assert (task.state, task.runner) == (WorkState.RETRYING, "")
        assert (task.spans[1].state, task.spans[1].elapsed_us) == (WorkState.FAILED, 2 * SECOND)
        assert task.spans[1].error == EventError("FLAKY")
        agents = fold([*events, *end]).agents
        assert (agents["a"].failed, agents["a"].completed, agents["a"].running) == (1, 0, 0)
        assert (agents["b"].failed, agents["b"].completed, agents["b"].running) == (0, 1, 0)


def test_who_failed_a_task_is_the_same_whatever_came_first() -> None:
    queued = event(E.TASK_QUEUED, task_id="t", agent_id="b", attempt=1)
    for end in (
        event(E.TASK_FAILED, task_id="t", agent_id="a", attempt=1),
        event(E.TASK_RETRYING, task_id="t", agent_id="a", attempt=2),
    ):
        assert seen(fold([queued, end])) == seen(fold([end, queued]))


def agent_after(*events: Event) -> AgentRecord:
    return fold(events).agents["a"]


def test_an_agent_is_offline_when_it_says_so_or_falls_silent() -> None:
    heartbeat = event(E.AGENT_HEARTBEAT, at=10, agent_id="a")
    silent = agent_after(event(E.AGENT_REGISTERED, agent_id="a"), heartbeat)
    assert silent.state(NOON + 40 * SECOND) == AgentState.ONLINE
    assert silent.state(NOON + 40 * SECOND + 1) == AgentState.OFFLINE
    assert silent.offline_reason(NOON + 41 * SECOND) == "no heartbeat for more than 30 s"
    gone = agent_after(heartbeat, event(E.AGENT_OFFLINE, at=11, agent_id="a", message="update"))
    assert gone.state(NOON + 11 * SECOND) == AgentState.OFFLINE
    assert gone.offline_reason(NOON + 11 * SECOND) == "it said goodbye: update"
    back = agent_after(event(E.AGENT_OFFLINE, at=9, agent_id="a"), heartbeat)
    assert back.state(NOON + 11 * SECOND) == AgentState.ONLINE


def test_a_draining_agent_stays_so_until_it_registers_again() -> None:
    events = [
        event(E.AGENT_REGISTERED, at=0, agent_id="a"),
        event(E.AGENT_DRAINING, at=1, agent_id="a"),
        event(E.AGENT_HEARTBEAT, at=2, agent_id="a", load=AgentLoad(1, 4)),
    ]
    assert agent_after(*events).state(NOON) == AgentState.DRAINING
    events.append(event(E.AGENT_REGISTERED, at=3, agent_id="a"))
    assert agent_after(*events).state(NOON) == AgentState.BUSY


def test_an_agent_that_never_told_its_load_is_busy_with_its_tasks() -> None:
    heartbeat = event(E.AGENT_HEARTBEAT, agent_id="a")
    started = event(E.TASK_STARTED, task_id="t", agent_id="a")
    assert agent_after(heartbeat, started).state(NOON) == AgentState.BUSY
    ended = event(E.TASK_FAILED, at=1, task_id="t", agent_id="a")
    idle = agent_after(heartbeat, started, ended)
    assert (idle.state(NOON), idle.failed) == (AgentState.ONLINE, 1)


def test_an_agent_that_only_others_named_is_not_known() -> None:
    assert not agent_after(event(E.TASK_STARTED, task_id="t", agent_id="a")).known
