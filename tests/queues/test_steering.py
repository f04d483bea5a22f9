"""Queues and engines on a real database: what engines report of them, and pausing and resuming them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse_server.adapters.sql import queue_rows
from pilothouse_server.adapters.sql.audit_views import SqlAudit
from pilothouse_server.adapters.sql.queue_views import SqlQueueViews
from pilothouse_server.domain.commands import Capability, Command, CommandState, Executor, Scope
from pilothouse_server.domain.errors import (
    CommandPending,
    NoExecutor,
    NotFound,
    RequestIdReused,
    UnsupportedByEngine,
    WrongState,
)
from pilothouse_server.domain.events import Event, EventType
from pilothouse_server.domain.projection.queue import (
    REPORTS_KEPT,
    QueueName,
    QueueRecord,
    QueueState,
)
from pilothouse_server.domain.targets import QUEUE_ACTIONS
from pilothouse_server.domain.workflows import Action
from pilothouse_server.services.control import ControlRequest
from pilothouse_server.services.views import PageRequest, QueueView
from tests.control.build import SECOND, event
from tests.control.conftest import Plant, plant

__all__ = ["plant"]

A, T, Q = Action, EventType, QueueState
ACTIVE, PAUSED = T.QUEUE_ACTIVE, T.QUEUE_PAUSED


async def engine(plant: Plant, *, selective: bool = True) -> None:
    """Engine e can pause and resume its queues, and all that it starts."""
    able = [Capability(action, Scope.QUEUE) for action in QUEUE_ACTIONS]
    able += [Capability(action, Scope.FLEET, selective=selective) for action in QUEUE_ACTIONS]
    await plant.store.write(lambda t: t.put_executor(Executor("e", tuple(able))))


async def report(plant: Plant, kind: EventType, **fields: Any) -> None:
    now_us = plant.clock.us
    given: dict[str, Any] = {
        "id": uuid.uuid4().hex, "workflow_id": "", "attempt": 0, "occur_us": now_us, "receive_us": now_us,
    }  # fmt: skip
    await plant.report(event(kind, **(given | fields)))


async def ask(plant: Plant, action: Action, queue: str = "", **fields: Any) -> Command:
    scope = Scope.QUEUE if queue else Scope.FLEET
    given: dict[str, Any] = {"scope": scope, "source": "e", "queue": queue}
    return await plant.control.request(ControlRequest("", action, **(given | fields)))


async def listed(plant: Plant, source: str = "") -> dict[QueueName, QueueView]:
    views = await SqlQueueViews(plant.database).of(source)
    return {view.name: view for view in views}


async def test_a_queue_is_paused_and_resumed_by_its_engines_reports(plant: Plant) -> None:
    await engine(plant)
    await report(plant, ACTIVE, queue="mail")
    paused_us = plant.clock.us = plant.clock.us + SECOND
    asked = await ask(plant, A.PAUSE, "mail", reason="smtp is down")
    mail = (await listed(plant))[QueueName("e", "mail")]
    assert (mail.state, mail.pending, mail.paused_by) == (Q.ACTIVE, asked, None)
    await report(plant, PAUSED, queue="mail", command_id=asked.id)
    mail = (await listed(plant))[QueueName("e", "mail")]
    assert (mail.state, mail.since_us, mail.pending) == (Q.PAUSED, paused_us, None)
    assert mail.paused_by is not None
    assert mail.paused_by.id == asked.id
    assert [each.action for each in mail.actions if each.available] == [A.RESUME]
    plant.clock.us += SECOND
    await report(plant, PAUSED, queue="mail")
    assert (await listed(plant))[QueueName("e", "mail")].since_us == paused_us, "said again"
    await ask(plant, A.RESUME, "mail")
    plant.clock.us += SECOND
    await report(plant, ACTIVE, queue="mail")
    mail = (await listed(plant))[QueueName("e", "mail")]
    assert (mail.state, mail.paused_by) == (Q.ACTIVE, None)


async def test_who_paused_it_is_not_said_of_a_pause_at_the_engine_itself(plant: Plant) -> None:
    await engine(plant)
    asked = await ask(plant, A.PAUSE)
    await report(plant, PAUSED, command_id=asked.id)
    for kind in (ACTIVE, PAUSED):
        plant.clock.us += SECOND
        await report(plant, kind)
    assert (await listed(plant))[QueueName("e")].paused_by is None


async def test_an_engine_holds_all_that_it_starts_or_one_type_alone(plant: Plant) -> None:
    await engine(plant)
    assert list(await listed(plant)) == [QueueName("e")], "nothing is known, and it can be asked"
    everything = await ask(plant, A.PAUSE)
    nightly = await ask(plant, A.PAUSE, workflow_type="nightly")
    coders = await ask(plant, A.PAUSE, agent_type="coder")
    await report(plant, PAUSED, workflow_type="nightly")
    states = [(await plant.control.get(each.id)).state for each in (everything, nightly, coders)]
    assert states == [CommandState.REQUESTED, CommandState.EFFECTIVE, CommandState.REQUESTED]
    held = await listed(plant, "e")
    assert held[QueueName("e", "", "nightly")].state == Q.PAUSED
    assert held[QueueName("e")].state == Q.ACTIVE
    assert await listed(plant, "f") == {}


async def test_each_refusal_is_named_and_recorded(plant: Plant) -> None:
    await engine(plant, selective=False)
    await report(plant, ACTIVE, queue="mail")
    with pytest.raises(NotFound, match="no queue 'e/post'"):
        await ask(plant, A.PAUSE, "post")
    with pytest.raises(NoExecutor, match="'f'"):
        await ask(plant, A.PAUSE, source="f")
    with pytest.raises(UnsupportedByEngine, match="one type alone"):
        await ask(plant, A.PAUSE, agent_type="coder")
    with pytest.raises(WrongState, match="queue 'e/mail': it is ACTIVE; legal now: PAUSE"):
        await ask(plant, A.RESUME, "mail")
    with pytest.raises(WrongState, match="engine 'e': it is ACTIVE"):
        await ask(plant, A.RESUME)
    request_id = str(uuid.uuid4())
    await ask(plant, A.PAUSE, "mail", request_id=request_id)
    with pytest.raises(CommandPending, match="this queue"):
        await ask(plant, A.PAUSE, "mail")
    with pytest.raises(RequestIdReused):
        await ask(plant, A.PAUSE, request_id=request_id)
    page = await SqlAudit(plant.database, plant.clock).page(PageRequest(100), ascending=True)
    said = [(each.verb, each.target_id, each.error and each.error.code) for each in page.items]
    assert said == [
        ("queue.pause", "e/post", "QUEUE_NOT_FOUND"),
        ("engine.pause", "f", "NO_EXECUTOR"),
        ("engine.pause", "e?agent_type=coder", "UNSUPPORTED_BY_ENGINE"),
        ("queue.resume", "e/mail", "WRONG_STATE"),
        ("engine.resume", "e", "WRONG_STATE"),
        ("queue.pause", "e/mail", None),
        ("queue.pause", "e/mail", "COMMAND_PENDING"),
        ("engine.pause", "e", "REQUEST_ID_REUSED"),
    ]


async def test_an_engine_with_a_queue_for_each_customer_is_kept_in_bounds(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_rows, "QUEUES_OF_AN_ENGINE", 3)
    for number in range(5):
        await report(plant, ACTIVE, queue=f"q{number}")
    await report(plant, ACTIVE, queue="other", source="f")
    await report(plant, PAUSED, queue="q1")
    known = await listed(plant)
    assert [name.name for name in known] == ["q0", "q1", "q2", "other"]
    assert known[QueueName("e", "q1")].state == Q.PAUSED


def reports(times: list[tuple[int, bool]]) -> list[Event]:
    return [
        event(PAUSED if paused else ACTIVE, id=f"{index}", occur_us=at, queue="mail")
        for index, (at, paused) in enumerate(times)
    ]


def folded(events: list[Event]) -> tuple[QueueState, int]:
    record = QueueRecord(QueueName("e", "mail"))
    for each in events:
        record.apply(each)
        record = QueueRecord.loaded(record.name, record.dump())
    return record.state, record.since_us


@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=REPORTS_KEPT),
    st.randoms(use_true_random=False),
)
def test_reports_in_any_order_and_twice_show_one_state(
    times: list[tuple[int, bool]], random: Any
) -> None:
    events = reports(times)
    shuffled = [*events, *events]
    random.shuffle(shuffled)
    assert folded(shuffled) == folded(sorted(events, key=lambda each: each.occur_us))


def test_many_reports_are_remembered_as_where_they_began() -> None:
    times = [(0, False), *((at, True) for at in range(1, 50))]
    assert folded(reports(times)) == (Q.PAUSED, 1)
    flapping = [(at, at % 2 == 0) for at in range(99)]
    assert folded(reports(flapping)) == (Q.PAUSED, 98)


def test_a_report_from_long_before_what_is_remembered_changes_nothing() -> None:
    known = [(0, False), *((at, True) for at in range(10, 50))]
    late = reports([(5, False)])
    assert folded([*reports(known), *late]) == (Q.PAUSED, 10)
