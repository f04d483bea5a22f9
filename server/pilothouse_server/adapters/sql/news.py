"""Which of the events that are not stored are news.

An event's id tells it from others as long as the event is kept. Of one from before that nobody knows whether it is new,
very late, or sent again; so it is stored no more. But a workflow or an agent that nobody knows is news if it is younger
than those that were removed; and states may be said twice. What is lost are sums and the event itself; it is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from pilothouse_server.adapters.sql import agent_rows, removals, workflow_rows
from pilothouse_server.adapters.sql.event_rows import Arrived
from pilothouse_server.domain.events import AGENT_TYPES, Event
from pilothouse_server.domain.projection.fold import of_workflow, repeatable


class ToldApart(NamedTuple):
    """What becomes of events that are not stored."""

    fresh: Sequence[Arrived]
    """News, to be stored and folded."""
    late: Sequence[Event]
    """To be folded only: what may be said twice of those that were perhaps there before."""


def told_apart(connection: Connection, unknown: Sequence[Arrived]) -> ToldApart:
    """To be asked after it was asked which are stored: what was removed in between has moved the bounds."""
    bounds = removals.bounds(connection)
    if all(_moment(each.event) > bounds.events_us for each in unknown):
        return ToldApart(unknown, ())
    old = [each.event for each in unknown if _moment(each.event) <= bounds.events_us]
    # Locked, so that they are still there when they are folded.
    workflows = workflow_rows.load(
        connection, {e.workflow_id for e in old if of_workflow(e)}, lock=True
    )
    agents = agent_rows.load(connection, {e.agent_id for e in old if e.type in AGENT_TYPES})
    fresh: list[Arrived] = []
    late: list[Event] = []
    for each in unknown:
        event, moment = each.event, _moment(each.event)
        workflow = workflows.get(event.workflow_id)
        if moment > bounds.events_us:
            fresh.append(each)
        elif of_workflow(event) and workflow is None:
            fresh += [each] if moment > bounds.workflows_us else []
        elif event.type in AGENT_TYPES and event.agent_id not in agents:
            fresh += [each] if moment > bounds.agents_us else []
        elif (again := repeatable(event, workflow)) is not None:
            late.append(again)
    return ToldApart(fresh, late)


def _moment(event: Event) -> int:
    return removals.moment(event.occur_us, event.receive_us)
