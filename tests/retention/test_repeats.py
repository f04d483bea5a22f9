"""An event that comes again after it was removed is counted no second time, and what is news is still taken."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from pilothouse_server.adapters.sql import (
    agent_rows,
    event_rows,
    news,
    projection_store,
    retention_store,
    workflow_rows,
)
from pilothouse_server.adapters.sql.event_rows import Arrived
from pilothouse_server.adapters.sql.sqlite import writing_engine
from pilothouse_server.adapters.sql.tables_projection import AGENTS, EVENTS, TASKS, WORKFLOWS
from pilothouse_server.domain.events import AGENT_TYPES, Event, EventType, Usage
from pilothouse_server.domain.projection.fold import Projection
from pilothouse_server.domain.projection.task import TaskRecord
from pilothouse_server.domain.workflows import WorkflowState
from pilothouse_server.services.project import Applied
from pilothouse_server.services.retention import DAY_US, Cut
from tests.projection.build import NOON, SECOND, event, histories, seen
from tests.retention.conftest import House

E = EventType


def stored(connection: Connection) -> dict[str, Any]:
    """All rows as records."""
    ids = list(connection.execute(select(WORKFLOWS.c.id)).scalars())
    workflows = workflow_rows.load(connection, ids)
    for workflow in workflows.values():
        workflow.agent_id = ""
    query = select(TASKS.c.workflow_id, TASKS.c.task_id, TASKS.c.record)
    tasks = {(w, t): TaskRecord.loaded(w, t, record) for w, t, record in connection.execute(query)}
    agents = agent_rows.load(connection, list(connection.execute(select(AGENTS.c.id)).scalars()))
    return seen(Projection(workflows, tasks, agents))


def arrived(connection: Connection, events: Sequence[Event]) -> int:
    """What the projector does with them; returns how many it stores."""
    unknown = event_rows.fresh(connection, [Arrived(each, b"", "c") for each in events])
    fresh, late = news.told_apart(connection, unknown)
    projection_store.fold(connection, [*(each.event for each in fresh), *late])
    event_rows.store(connection, fresh)
    return len(fresh)


@settings(max_examples=20)
@given(history=histories, removed=st.integers(0, 25), resent=st.booleans())
def test_whatever_is_removed_a_replay_of_all_of_it_changes_nothing(
    sqlite_template: Path, history: Sequence[Event], removed: int, resent: bool
) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "state.db"
        shutil.copyfile(sqlite_template, path)
        engine = writing_engine(path)
        with engine.begin() as connection:
            arrived(connection, history)
            before = stored(connection)
            if removed and history:
                cut = Cut(NOON + DAY_US, NOON + DAY_US)
                retention_store.remove_events(connection, cut, removed)
            left = set(connection.execute(select(EVENTS.c.id)).scalars())
            # A log that is read again says when it was received first, a producer that sends again does not.
            again = [
                each._replace(receive_us=NOON + 9 * DAY_US)
                if resent and each.type not in AGENT_TYPES
                else each
                for each in history
            ]
            assert arrived(connection, again) == 0
            assert stored(connection) == before
            assert set(connection.execute(select(EVENTS.c.id)).scalars()) == left
        engine.dispose()


async def old_and_removed(house: House) -> list[Event]:
    """The events of a finished workflow and of an agent, all removed but the last."""
    usage = Usage(100, 10, 1)
    events = [
        event(E.WORKFLOW_STARTED, usage=usage, attempt=1),
        event(E.TASK_STARTED, at=1, task_id="t", agent_id="a", attempt=1),
        event(E.TASK_COMPLETED, at=2, task_id="t", agent_id="a", attempt=1, usage=usage),
        event(E.WORKFLOW_COMPLETED, at=3, attempt=1),
        event(E.AGENT_HEARTBEAT, at=3, agent_id="a"),
        event(E.LOG, at=3),
    ]
    await house.report(*events, event(E.LOG, at=10 * DAY_US / SECOND))
    house.clock.pass_days(8)
    await house.sweep(events_us=7 * DAY_US)
    assert await house.count(EVENTS) == 1
    return events


async def test_events_sent_again_after_they_were_removed_count_nothing(house: House) -> None:
    events = await old_and_removed(house)
    before = await house.database.read(stored)
    for receive_us in (NOON, house.clock.us):
        again = [
            each._replace(receive_us=receive_us)
            for each in events
            if each.type != E.AGENT_HEARTBEAT
        ]
        assert await house.report(*again) == Applied(0, 0, 0, 5)
    assert await house.report(events[4]) == Applied(0, 0, 0, 1)
    assert await house.database.read(stored) == before
    assert await house.count(EVENTS) == 1


async def test_events_of_a_workflow_that_was_removed_do_not_bring_it_back(house: House) -> None:
    events = await old_and_removed(house)
    await house.sweep(workflows_us=30 * DAY_US, agents_us=DAY_US)
    house.clock.pass_days(31)
    await house.sweep(workflows_us=30 * DAY_US, agents_us=DAY_US)
    assert (await house.count(WORKFLOWS), await house.count(AGENTS)) == (0, 0)
    assert (await house.report(*events)).beyond_horizon == 6
    assert (await house.count(WORKFLOWS), await house.count(AGENTS)) == (0, 0)
    # But when something happens to it now, it is there again with what is said of it now.
    now = (house.clock.us - NOON) / SECOND
    assert (await house.report(event(E.WORKFLOW_RETRIED, at=now, attempt=2))).events == 1
    record = (await house.workflows.get("w")).view.record
    assert (record.attempt, record.state) == (2, WorkflowState.QUEUED)


async def test_what_is_very_late_still_says_how_a_workflow_ended(house: House) -> None:
    await house.report(event(E.WORKFLOW_STARTED, attempt=1), event(E.LOG, at=5), event(E.LOG, at=9))
    house.clock.pass_days(8)
    await house.sweep(events_us=7 * DAY_US)
    end = event(
        E.WORKFLOW_COMPLETED, at=4, attempt=1, receive_us=house.clock.us, usage=Usage(5, 5, 5)
    )
    assert await house.report(end) == Applied(0, 0, 0, 1)
    record = (await house.workflows.get("w")).view.record
    assert (record.state, record.usage) == (WorkflowState.COMPLETED, Usage())


async def test_a_late_event_that_does_not_say_of_which_attempt_is_not_taken_for_one_of_another(
    house: House,
) -> None:
    await house.report(
        event(E.WORKFLOW_STARTED),
        event(E.WORKFLOW_FAILED, at=1, id="end"),
        event(E.WORKFLOW_RETRIED, at=2),
        event(E.LOG, at=9),
    )
    house.clock.pass_days(8)
    await house.sweep(events_us=7 * DAY_US)
    await house.report(
        event(E.WORKFLOW_FAILED, at=1, id="end"), event(E.TASK_FAILED, at=1, task_id="t")
    )
    record = (await house.workflows.get("w")).view.record
    assert (record.attempt, record.state) == (2, WorkflowState.QUEUED)


async def test_workflows_and_agents_of_a_slow_clock_are_news_as_long_as_none_was_removed(
    house: House,
) -> None:
    await house.report(event(E.LOG, at=5), event(E.LOG, at=9))
    house.clock.pass_days(8)
    await house.sweep(events_us=7 * DAY_US)
    slow = event(E.WORKFLOW_STARTED, at=1, receive_us=house.clock.us)
    agent = event(E.AGENT_HEARTBEAT, at=1, agent_id="a", receive_us=house.clock.us)
    assert await house.report(slow, agent) == Applied(2, 0)
    assert (await house.count(WORKFLOWS), await house.count(AGENTS)) == (1, 1)
