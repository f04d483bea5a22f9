"""From Celery's sparse events to whole workflows: joined, attributed, ended, remembered."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.v1.events_pb2 import Event, EventType
from pilothouse_server.connectors.celery.canvas import Canvases
from pilothouse_server.connectors.celery.records import Found
from pilothouse_server.connectors.celery.signals import TaskKind, TaskSignal

SECOND = 1_000_000
LINGER = 2 * SECOND
K = TaskKind


def received(uuid: str, root: str = "", *, host: str = "w@h", retries: int = 0) -> TaskSignal:
    """As a worker tells it."""
    return TaskSignal(
        K.RECEIVED, uuid, host, 0, name=f"t.{uuid}", root=root or uuid, retries=retries
    )


def tell(kind: TaskKind, uuid: str, *, host: str = "w@h", exception: str = "") -> TaskSignal:
    """Everything else, which has only the id."""
    return TaskSignal(kind, uuid, host, 0, exception=exception)


def life(uuid: str, root: str = "", end: TaskKind = K.SUCCEEDED) -> list[TaskSignal]:
    """A task from its receipt to its end."""
    return [received(uuid, root), tell(K.STARTED, uuid), tell(end, uuid)]


class Story:
    """A fold with a clock that ticks with each signal."""

    def __init__(self, **limits: int) -> None:
        self.canvases = Canvases("celery", **limits)
        self.now = SECOND
        self.events: list[Event] = []

    def hear(self, *signals: TaskSignal) -> list[Event]:
        """What they say that is new."""
        told: list[Event] = []
        for signal in signals:
            self.now += 1000
            told += self.canvases.apply(replace(signal, time_us=self.now), self.now)
        self.events += told
        return told

    def wait(self, us: int = LINGER) -> list[Event]:
        """What is over after a while."""
        self.now += us
        told = self.canvases.due(self.now, LINGER)
        self.events += told
        return told


def names(events: Sequence[Event]) -> list[str]:
    """Kind and attempt of each."""
    return [f"{EventType.Name(each.type)[11:]} {each.attempt}" for each in events]


def test_one_task_is_a_workflow_of_one_task() -> None:
    story = Story()
    assert names(story.hear(*life("a"))) == [
        "WORKFLOW_CREATED 1",
        "TASK_ASSIGNED 1",
        "WORKFLOW_STARTED 1",
        "TASK_STARTED 1",
        "TASK_COMPLETED 1",
    ]
    (end,) = story.wait()
    assert names([end]) == ["WORKFLOW_COMPLETED 1"]
    assert end.occur_time == story.events[-2].occur_time, "it ended when its last task did"
    assert (end.workflow_id, end.workflow_type, end.source) == ("a", "t.a", "celery")


def test_a_workflow_lasts_until_the_last_of_its_tasks_ends() -> None:
    story = Story()
    story.hear(*life("root"), received("child", "root"))
    assert story.wait() == []
    story.hear(tell(K.STARTED, "child"), tell(K.SUCCEEDED, "child"))
    assert names(story.wait()) == ["WORKFLOW_COMPLETED 1"]


def test_a_link_that_comes_in_time_belongs_to_the_same_attempt() -> None:
    story = Story()
    story.hear(*life("a"))
    assert story.wait(LINGER - 1) == []
    story.hear(*life("b", "a"))
    assert names(story.wait()) == ["WORKFLOW_COMPLETED 1"]


def test_a_link_that_comes_after_the_end_opens_the_next_attempt() -> None:
    story = Story()
    story.hear(*life("a"))
    story.wait()
    assert names(story.hear(*life("b", "a")))[:3] == [
        "WORKFLOW_RETRIED 2",
        "TASK_ASSIGNED 1",
        "WORKFLOW_STARTED 2",
    ]
    assert names(story.wait()) == ["WORKFLOW_COMPLETED 2"]
    assert story.canvases.counts.reopened == 1


def test_a_retry_that_is_received_before_the_failure_is_told_is_told_apart() -> None:
    # As prefork workers do it: the message of the retry is there before the end of the attempt that sent it.
    story = Story()
    story.hear(received("a"), tell(K.STARTED, "a"), received("a", retries=1), tell(K.STARTED, "a"))
    (retrying,) = story.hear(tell(K.RETRIED, "a", exception="ValueError('no')"))
    assert names([retrying]) == ["TASK_RETRYING 2"]
    assert (retrying.error.code, retrying.error.message) == ("ValueError", "no")
    assert names(story.hear(tell(K.FAILED, "a", exception="ValueError('no')"))) == ["TASK_FAILED 2"]
    assert names(story.wait()) == ["WORKFLOW_FAILED 1"]


def test_a_retry_that_ends_before_the_failure_is_told_is_told_apart() -> None:
    # As two processes of one worker do it.
    story = Story()
    story.hear(received("a"), tell(K.STARTED, "a"), received("a", retries=1), tell(K.STARTED, "a"))
    assert names(story.hear(tell(K.SUCCEEDED, "a"))) == ["TASK_COMPLETED 2"]
    assert names(story.hear(tell(K.RETRIED, "a"))) == ["TASK_RETRYING 2"]
    assert names(story.wait()) == ["WORKFLOW_COMPLETED 1"]


def test_a_task_that_is_given_out_again_is_an_attempt_more() -> None:
    story = Story()
    story.hear(received("a"), tell(K.STARTED, "a"))
    assert names(story.hear(received("a", host="other@h"))) == [
        "TASK_RETRYING 2",
        "TASK_ASSIGNED 2",
    ]
    told = story.hear(tell(K.STARTED, "a", host="other@h"), tell(K.SUCCEEDED, "a", host="other@h"))
    assert names(told) == ["TASK_STARTED 2", "TASK_COMPLETED 2"]


def test_a_task_that_moves_to_another_worker_unstarted_is_the_same_attempt() -> None:
    story = Story()
    story.hear(received("a"))
    (moved,) = story.hear(received("a", host="other@h"))
    assert (names([moved]), moved.agent_id) == (["TASK_ASSIGNED 1"], "other@h")


def test_a_task_that_replaces_itself_goes_on() -> None:
    story = Story()
    story.hear(received("a"), tell(K.STARTED, "a"))
    replaced = replace(received("a"), name="another")
    assert names(story.hear(replaced, tell(K.STARTED, "a"), tell(K.SUCCEEDED, "a"))) == [
        "TASK_ASSIGNED 1",
        "TASK_COMPLETED 1",
    ]


@pytest.mark.parametrize(
    ("signal", "kind", "code", "workflow"),
    [
        (tell(K.FAILED, "a", exception="KeyError('x')"), "TASK_FAILED", "KeyError", "FAILED"),
        (tell(K.FAILED, "a", exception="odd"), "TASK_FAILED", "FAILED", "FAILED"),
        (tell(K.REVOKED, "a"), "TASK_CANCELLED", "", "CANCELLED"),
        (replace(tell(K.REVOKED, "a"), expired=True), "TASK_FAILED", "EXPIRED", "FAILED"),
        (tell(K.REJECTED, "a"), "TASK_FAILED", "REJECTED", "FAILED"),
        (tell(K.SUCCEEDED, "a"), "TASK_COMPLETED", "", "COMPLETED"),
    ],
)
def test_each_way_to_end(signal: TaskSignal, kind: str, code: str, workflow: str) -> None:
    story = Story()
    story.hear(received("a"), tell(K.STARTED, "a"))
    (end,) = story.hear(signal)
    assert (names([end]), end.error.code) == ([f"{kind} 1"], code)
    assert names(story.wait()) == [f"WORKFLOW_{workflow} 1"]


@pytest.mark.parametrize(
    "signal", [tell(K.CANCELLED, "a"), replace(tell(K.REJECTED, "a"), requeue=True)]
)
def test_what_is_put_back_is_still_open(signal: TaskSignal) -> None:
    story = Story()
    story.hear(received("a"), tell(K.STARTED, "a"))
    assert names(story.hear(signal)) == ["TASK_RETRYING 2"]
    assert story.wait() == []
    assert names(story.hear(received("a"), tell(K.STARTED, "a"), tell(K.SUCCEEDED, "a"))) == [
        "TASK_ASSIGNED 2",
        "TASK_STARTED 2",
        "TASK_COMPLETED 2",
    ]


def test_what_begins_before_it_is_introduced_is_joined() -> None:
    story = Story()
    assert story.hear(tell(K.STARTED, "a")) == []
    assert list(story.canvases.unknown) == ["a"]
    assert names(story.hear(received("a")))[-1] == "TASK_STARTED 1"
    assert not story.canvases.unknown


def test_what_a_worker_has_is_a_workflow_whose_root_is_not_known() -> None:
    story = Story()
    story.hear(tell(K.STARTED, "a"))
    found = story.canvases.found(
        Found("a", "t.a", "w@h", active=True, start_us=5), story.now, story.now
    )
    assert names(found) == [
        "WORKFLOW_CREATED 1",
        "TASK_ASSIGNED 1",
        "WORKFLOW_STARTED 1",
        "TASK_STARTED 1",
    ]
    assert found[0].attributes["celery.root"] == "unknown"
    assert names(story.hear(tell(K.SUCCEEDED, "a"))) == ["TASK_COMPLETED 1"]


def test_what_nobody_knows_is_counted() -> None:
    story = Story(max_unknown=2)
    story.hear(tell(K.STARTED, "a"), tell(K.SUCCEEDED, "a"), tell(K.STARTED, "b"))
    assert story.canvases.counts.unmatched == 2, "the oldest made room"
    story.canvases.not_found("b")
    assert story.canvases.counts.unmatched == 3


def test_memory_is_bounded_and_what_had_not_ended_is_counted() -> None:
    story = Story(max_tasks=3)
    story.hear(*life("over"))
    story.wait()
    story.hear(*(received(f"t{n}") for n in range(3)))
    assert story.canvases.counts.forgotten == 0, "what had ended went first"
    story.hear(received("t3"))
    assert (story.canvases.counts.forgotten, len(story.canvases.tasks)) == (1, 3)


def test_a_cancel_ends_what_has_not_started_once_all_workers_know() -> None:
    story = Story()
    story.hear(*life("root"), received("a", "root"), tell(K.STARTED, "a"), received("b", "root"))
    opened = story.canvases.cancel("root", "command-1")
    assert opened is not None
    assert [task.uuid for task in opened] == ["a", "b"]
    assert names(story.canvases.revoked(["a", "b"], story.now, story.now)) == ["TASK_CANCELLED 1"]
    story.hear(tell(K.REVOKED, "a"))
    (end,) = story.wait(0)
    assert (names([end]), end.command_id) == (["WORKFLOW_CANCELLED 1"], "command-1")
    # A link that was under way is revoked and opens nothing.
    assert names(story.hear(received("late", "root"))) == ["TASK_ASSIGNED 1"]
    assert story.canvases.to_revoke == {"late"}


def test_a_cancel_that_comes_too_late_changes_nothing() -> None:
    story = Story()
    story.hear(received("a"), tell(K.STARTED, "a"))
    story.canvases.cancel("a", "command-1")
    story.hear(tell(K.SUCCEEDED, "a"))
    (end,) = story.wait()
    assert (names([end]), end.command_id) == (["WORKFLOW_COMPLETED 1"], "")
    assert names(story.hear(*life("b", "a")))[0] == "WORKFLOW_RETRIED 2"
    assert not story.canvases.to_revoke


def test_a_worker_that_was_thought_lost_is_believed_when_it_is_heard_again() -> None:
    story = Story()
    story.hear(received("a"), tell(K.STARTED, "a"))
    task = story.canvases.tasks["a"]
    kind = EventType.EVENT_TYPE_TASK_FAILED
    assert names(story.canvases.suppose_ended(task, story.now, story.now, kind, None)) == [
        "TASK_FAILED 1"
    ]
    story.wait()
    told = story.hear(tell(K.SUCCEEDED, "a"))
    assert names(told) == ["WORKFLOW_RETRIED 2", "TASK_RETRYING 2", "TASK_COMPLETED 2"]
    assert names(story.wait()) == ["WORKFLOW_COMPLETED 2"]


def test_the_same_again_has_the_same_ids() -> None:
    one, two = Story(), Story()
    for story in (one, two):
        story.hear(*life("a"))
        story.wait()
    assert [each.id for each in one.events] == [each.id for each in two.events]
    assert len({each.id for each in one.events}) == len(one.events)


@given(st.data())
def test_however_workers_interleave_each_task_ends_as_it_did(data: st.DataObject) -> None:
    """Events of one task keep their order, as a worker sends them; those of different tasks mix."""
    ends = [data.draw(st.sampled_from([K.SUCCEEDED, K.FAILED, K.REVOKED])) for _ in range(4)]
    lives = [life(f"t{n}", "t0" if n < 2 else "", end) for n, end in enumerate(ends)]
    order = data.draw(st.permutations([n for n in range(4) for _ in range(3)]))
    story, left = Story(), [iter(each) for each in lives]
    for n in order:
        story.hear(next(left[n]))
        if data.draw(st.booleans()):
            story.wait(SECOND // 10)
    story.wait()
    finals = {K.SUCCEEDED: "COMPLETED", K.FAILED: "FAILED", K.REVOKED: "CANCELLED"}
    seen = {
        each.task_id: EventType.Name(each.type)[16:]
        for each in story.events
        if each.task_id and EventType.Name(each.type)[16:] in finals.values()
    }
    assert seen == {f"t{n}": finals[end] for n, end in enumerate(ends)}
    closed = {
        each.workflow_id
        for each in story.events
        if EventType.Name(each.type)[20:] in finals.values()
    }
    assert closed >= {"t0", "t2", "t3"}
    assert not any(root.open for root in story.canvases.roots.values())
    assert list(itertools.chain(*story.canvases.unknown.values())) == []


def test_what_was_revoked_before_it_began_is_to_be_said_to_a_worker_that_comes() -> None:
    story = Story()
    story.hear(received("a"), received("b", "a"), tell(K.STARTED, "a"), received("c"))
    story.canvases.cancel("a", "command")
    story.canvases.revoked(["b"], story.now, story.now)
    story.hear(tell(K.REVOKED, "a"))
    story.wait()
    assert story.canvases.revoked_unbegun() == ["b"]
