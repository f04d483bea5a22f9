"""Rows: the old ones go, the live ones stay however old they are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pilothouse_server.adapters.sql.tables_batches import BATCH_ITEMS, BATCH_REQUESTS, BATCHES
from pilothouse_server.adapters.sql.tables_control import (
    ALERT_TRANSITIONS,
    ALERTS,
    COMMANDS,
    EXECUTORS,
)
from pilothouse_server.adapters.sql.tables_notifications import DELIVERIES, DELIVERY_ALERTS
from pilothouse_server.adapters.sql.tables_projection import AGENTS, EVENTS, TASKS, WORKFLOWS
from pilothouse_server.adapters.sql.tables_silences import SILENCES
from pilothouse_server.domain.commands import Command, CommandState
from pilothouse_server.domain.events import EventType
from pilothouse_server.services.retention import DAY_US, HOUR_US, Cut, Kind
from pilothouse_server.services.views import PageRequest
from tests.control.build import command
from tests.projection.build import NOON, SECOND, event
from tests.retention.conftest import House

E = EventType


async def positions(house: House) -> list[int]:
    query = select(EVENTS.c.position).order_by(EVENTS.c.position)
    return await house.database.read(lambda c: list(c.execute(query).scalars()))


async def test_old_events_go_and_the_newest_stays_whatever_its_age(house: House) -> None:
    await house.report(*(event(E.LOG) for _ in range(500)))
    house.clock.pass_days(1)
    young = event(E.LOG, receive_us=house.clock.us)
    await house.report(young)
    house.clock.pass_days(0.5)
    retention = await house.sweep(events_us=DAY_US)
    assert await positions(house) == [501]
    assert retention.counts.removed[Kind.EVENTS] == 500
    assert retention.kept is not None
    assert retention.kept[:2] == (1, young.receive_us)
    house.clock.pass_days(9)
    await house.sweep(events_us=DAY_US)
    assert await positions(house) == [501]
    await house.report(event(E.LOG, at=1))
    assert await positions(house) == [501, 502]


async def test_more_events_than_are_to_be_kept_go_unless_they_are_young(house: House) -> None:
    await house.report(*(event(E.LOG) for _ in range(100)))
    house.clock.us += 16 * 60 * SECOND
    await house.report(*(event(E.LOG, receive_us=house.clock.us) for _ in range(100)))
    await house.sweep(events=150)
    assert await positions(house) == list(range(51, 201))
    await house.sweep(events=10)
    assert await positions(house) == list(range(101, 201))
    house.clock.us += 16 * 60 * SECOND
    await house.sweep(events=10)
    assert await positions(house) == list(range(191, 201))


async def test_events_of_the_future_keep_nobody_for_ever(house: House) -> None:
    await house.report(event(E.LOG, receive_us=NOON + 900 * DAY_US), event(E.LOG), event(E.LOG))
    house.clock.pass_days(3)
    await house.sweep(events_us=DAY_US)
    assert await positions(house) == [3]


async def test_pages_of_events_go_on_over_what_was_removed(house: House) -> None:
    await house.report(*(event(E.LOG, id=f"e{n}", receive_us=NOON + n) for n in range(30)))
    first = await house.events.page(PageRequest(5), ascending=True)
    house.clock.us = NOON + DAY_US + 20
    await house.sweep(events_us=DAY_US)
    following = await house.events.page(PageRequest(50, first.next_token), ascending=True)
    assert [each.position for each in following.events] == list(range(21, 31))
    assert (await house.events.page(PageRequest(1), ascending=True)).events[0].position == 21


async def finished_and_live(house: House) -> None:
    """Workflows done, failed and asked, each with a task, that ended; and one that goes on."""
    for name in ("done", "failed", "asked", "live"):
        task: dict[str, Any] = {"workflow_id": name, "task_id": "t", "agent_id": f"of-{name}"}
        await house.report(
            event(E.WORKFLOW_STARTED, workflow_id=name), event(E.TASK_STARTED, at=1, **task)
        )
        if name != "live":
            ended = E.WORKFLOW_COMPLETED if name == "done" else E.WORKFLOW_FAILED
            await house.report(
                event(E.TASK_COMPLETED, at=2, **task), event(ended, at=3, workflow_id=name)
            )


async def test_finished_workflows_go_with_their_tasks_and_live_ones_stay(house: House) -> None:
    await finished_and_live(house)
    await house.sweep(workflows_us=30 * DAY_US)  # notes how far it is
    await house.add(COMMANDS, row_of(command(workflow_id="asked", request_id="r")))
    house.clock.pass_days(29)
    await house.sweep(workflows_us=30 * DAY_US)
    assert await house.names(WORKFLOWS) == ["asked", "done", "failed", "live"]
    house.clock.pass_days(2)
    retention = await house.sweep(workflows_us=30 * DAY_US)
    assert await house.names(WORKFLOWS) == ["asked", "live"]
    assert await house.names(TASKS) == ["asked", "live"]
    assert retention.counts.removed[Kind.WORKFLOWS] == 2


async def test_what_a_source_says_the_time_is_decides_nothing(house: House) -> None:
    await house.report(
        event(E.WORKFLOW_STARTED, at=-1e8, receive_us=NOON),
        event(E.WORKFLOW_COMPLETED, at=-1e8 + 1, receive_us=NOON),
    )
    await house.sweep(workflows_us=DAY_US)
    house.clock.pass_days(0.9)
    await house.sweep(workflows_us=DAY_US)
    assert await house.names(WORKFLOWS) == ["w"]
    house.clock.pass_days(0.2)
    await house.sweep(workflows_us=DAY_US)
    assert await house.names(WORKFLOWS) == []


async def test_many_workflows_with_many_tasks_go_in_several_transactions(house: House) -> None:
    for number in range(30):
        name = f"w{number}"
        tasks = [event(E.TASK_QUEUED, workflow_id=name, task_id=f"t{n}") for n in range(40)]
        await house.report(*tasks, event(E.WORKFLOW_COMPLETED, at=1, workflow_id=name))
    await house.sweep(workflows_us=DAY_US)
    house.clock.pass_days(2)
    cut = Cut(house.clock.us, house.clock.us - DAY_US)
    first = await house.store.remove(Kind.WORKFLOWS, cut, 100)
    assert (first.rows, first.more) == (9, True)  # with 41 rows each, four times what was asked for
    assert (await house.count(WORKFLOWS), await house.count(TASKS)) == (21, 21 * 40)
    retention = await house.sweep(workflows_us=DAY_US)
    assert (await house.count(WORKFLOWS), await house.count(TASKS)) == (0, 0)
    assert retention.counts.removed[Kind.WORKFLOWS] == 21


def row_of(given: Command) -> dict[str, Any]:
    names = [column.name for column in COMMANDS.columns]
    fields = {name: getattr(given, name) for name in names if hasattr(given, name)}
    return fields | {"state": int(given.state), "action": int(given.action), "boundary": 0}


async def test_commands_go_so_long_after_they_ended(house: House) -> None:
    rows = [
        row_of(command(id=name, request_id=name, workflow_id=name, sequence=n, state=state))
        | {"end_us": end_us}
        for n, (name, state, end_us) in enumerate(
            [
                ("old", CommandState.EFFECTIVE, NOON - 91 * DAY_US),
                ("young", CommandState.EXPIRED, NOON - 89 * DAY_US),
                ("pending", CommandState.ACCEPTED, None),
            ]
        )
    ]
    await house.add(COMMANDS, *rows)
    await house.sweep(commands_us=90 * DAY_US)
    assert await house.names(COMMANDS) == ["pending", "young"]


async def test_a_batch_goes_before_its_commands_and_never_while_it_goes_on(house: House) -> None:
    old = NOON - 10 * DAY_US
    await house.add(
        BATCHES, {"id": "live", "sequence": 1}, {"id": "over", "sequence": 2, "end_us": old + 1}
    )
    for batch_id in ("live", "over"):
        items = [{"batch_id": batch_id, "position": n, "workflow_id": f"w{n}"} for n in range(1100)]
        await house.add(BATCH_ITEMS, *items)
    await house.add(BATCH_REQUESTS, {"request_id": "r1", "batch_id": "live"})
    await house.add(BATCH_REQUESTS, {"request_id": "r2", "batch_id": "over"})
    for number, batch_id in enumerate(("live", "over", "")):
        ended = {"id": f"of-{batch_id}", "batch_id": batch_id, "state": 3, "end_us": old}
        names = dict.fromkeys(("request_id", "target"), f"{number}")
        await house.add(COMMANDS, ended | names | {"sequence": number})

    await house.sweep(commands_us=30 * DAY_US)
    assert await house.count(BATCH_ITEMS) == 2200
    await house.sweep(commands_us=7 * DAY_US)

    assert await house.names(BATCHES) == ["live"]
    assert await house.names(BATCH_REQUESTS) == ["r1"]
    assert set(await house.names(BATCH_ITEMS)) == {"live"}
    assert await house.names(COMMANDS) == ["of-live"]


async def test_alerts_go_with_their_steps_so_long_after_they_were_resolved(house: House) -> None:
    resolved: dict[str, Any] = {
        "state": 4,
        "fire_us": 1,
        "labels": {},
        "resolve_us": NOON - 91 * DAY_US,
    }
    await house.add(
        ALERTS,
        resolved | {"id": "old", "sequence": 1, "revision": 1},
        resolved | {"id": "young", "sequence": 2, "revision": 2, "resolve_us": NOON - 89 * DAY_US},
        resolved | {"id": "latched", "sequence": 3, "revision": 3, "latched": True},
        {"id": "firing", "sequence": 4, "revision": 4, "state": 2, "labels": {}},
    )
    await house.add(ALERT_TRANSITIONS, *({"alert_id": name} for name in ("old", "young")))
    await house.sweep(alerts_us=90 * DAY_US)
    assert await house.names(ALERTS) == ["firing", "latched", "young"]
    assert await house.names(ALERT_TRANSITIONS) == ["young"]


async def test_silences_go_with_the_alerts_of_their_time(house: House) -> None:
    old, young = NOON - 91 * DAY_US, NOON - 89 * DAY_US
    plain: dict[str, Any] = {"matchers": [], "bound": []}
    await house.add(
        SILENCES,
        plain | {"id": "old", "end_us": old},
        plain | {"id": "ended", "expire_us": old},
        plain | {"id": "young", "end_us": young},
        plain | {"id": "recurring"},
    )
    await house.sweep(alerts_us=90 * DAY_US)
    assert await house.names(SILENCES) == ["recurring", "young"]


async def test_deliveries_go_so_long_after_they_ended_and_never_while_they_wait(
    house: House,
) -> None:
    ended = {"state": 2, "end_us": NOON - 91 * DAY_US}
    await house.add(
        DELIVERIES,
        ended | {"id": "old"},
        ended | {"id": "dead", "state": 3},
        ended | {"id": "young", "end_us": NOON - 89 * DAY_US},
        {"id": "waiting", "state": 1, "end_us": None},
    )
    told = [{"alert_id": "a", "delivery_id": id} for id in ("old", "dead", "young", "waiting")]
    await house.add(DELIVERY_ALERTS, *told)
    await house.sweep(alerts_us=90 * DAY_US)
    assert await house.names(DELIVERIES) == ["waiting", "young"]
    assert len(await house.names(DELIVERY_ALERTS)) == 2


async def test_executors_go_that_were_away_so_long_and_have_no_workflow(house: House) -> None:
    away: dict[str, Any] = {"capabilities": [], "last_seen_us": NOON - 31 * DAY_US}
    await house.add(
        EXECUTORS,
        away | {"source": "gone"},
        away | {"source": "there", "connected": True},
        away | {"source": "engine"},
        away | {"source": "lately", "last_seen_us": NOON},
    )
    await house.report(event(E.WORKFLOW_STARTED))
    await house.sweep(executors_us=30 * DAY_US)
    assert await house.names(EXECUTORS) == ["engine", "lately", "there"]


async def test_agents_go_that_were_silent_so_long_and_have_no_work_in_hand(house: House) -> None:
    for name in ("silent", "busy", "heard"):
        await house.report(event(E.AGENT_HEARTBEAT, agent_id=name))
    await house.report(event(E.TASK_STARTED, task_id="t", agent_id="busy"))
    await house.report(event(E.TASK_STARTED, task_id="u", agent_id="unheard"))
    await house.report(event(E.TASK_COMPLETED, task_id="u", at=1, agent_id="unheard"))
    await house.sweep(agents_us=DAY_US)
    house.clock.pass_days(1.1)
    await house.report(event(E.AGENT_HEARTBEAT, agent_id="heard", receive_us=house.clock.us))
    await house.sweep(agents_us=DAY_US)
    assert await house.names(AGENTS) == ["busy", "heard"]


async def test_who_was_forgotten_with_its_work_never_counts_less_than_nothing(house: House) -> None:
    task: dict[str, Any] = {"task_id": "t", "agent_id": "a", "attempt": 1}
    await house.report(event(E.TASK_STARTED, **task), event(E.TASK_FAILED, at=2, **task))
    await house.sweep(agents_us=DAY_US)
    house.clock.pass_days(2)
    await house.sweep(agents_us=DAY_US)
    assert await house.names(AGENTS) == []
    # An end that came earlier by its source's clock stands instead.
    late = house.clock.us
    await house.report(event(E.TASK_COMPLETED, at=1, receive_us=late, **task))
    await house.report(event(E.AGENT_HEARTBEAT, agent_id="a", receive_us=late))
    record = (await house.agents.get("a")).view.record
    assert (record.completed, record.failed) == (1, 0)


async def test_agents_are_removed_together_and_rarely(house: House) -> None:
    retention = await house.sweep(agents_us=1)
    await house.report(event(E.AGENT_HEARTBEAT, agent_id="a"))
    house.clock.us += HOUR_US // 2
    await retention.sweep()
    assert await house.names(AGENTS) == ["a"]
    house.clock.us += HOUR_US // 2
    await retention.sweep()
    assert await house.names(AGENTS) == []


async def test_for_ever_is_for_ever(house: House) -> None:
    await finished_and_live(house)
    house.clock.pass_days(9999)
    retention = await house.sweep()
    assert set(retention.counts.removed.values()) == {0}
    assert await house.count(WORKFLOWS) == 4
