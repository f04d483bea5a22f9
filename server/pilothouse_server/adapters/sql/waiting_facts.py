"""What says why workflows wait, for a page of them in a few statements, whatever their number."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection, and_, case, func, not_, select

from pilothouse_server.adapters.sql import stop_rows
from pilothouse_server.adapters.sql.command_store import command_of
from pilothouse_server.adapters.sql.queue_rows import record_of
from pilothouse_server.adapters.sql.queue_views import last_paused
from pilothouse_server.adapters.sql.tables_budgets import ENGINES_HEARD
from pilothouse_server.adapters.sql.tables_control import COMMANDS
from pilothouse_server.adapters.sql.tables_projection import AGENTS, QUEUES
from pilothouse_server.adapters.sql.workflow_rows import slices
from pilothouse_server.domain.commands import (
    Availability,
    Command,
    CommandState,
    Executor,
    Scope,
)
from pilothouse_server.domain.projection.queue import QueueState
from pilothouse_server.domain.projection.workflow import WorkflowRecord
from pilothouse_server.domain.stops import Kind
from pilothouse_server.domain.stops import Scope as About
from pilothouse_server.domain.targets import queue_target
from pilothouse_server.domain.waiting import Engine, Facts, Hold, Pool, Waiting, waiting
from pilothouse_server.domain.workflows import ENDED, Action, WorkflowState

HOLDS_SEEN = 1_000
"""Paused queues that one look takes into account."""
AT_ONCE = 250


class Moment(NamedTuple):
    """When it is, and what counts as gone."""

    now_us: int
    offline_after_us: int
    silent_after_us: int


class Asked(NamedTuple):
    """A workflow with what is known of it already."""

    record: WorkflowRecord
    pending: Command | None
    executor: Executor | None
    actions: Sequence[Availability]


def reasons(
    connection: Connection, asked: Sequence[Asked], moment: Moment
) -> dict[str, Waiting | None]:
    """Why each of the workflows that have not ended waits."""
    live = [each for each in asked if each.record.state not in ENDED]
    if not live:
        return {}
    records = [each.record for each in live]
    known = engines(connection, {record.source[2] for record in records})
    pauses = _pauses(connection, [each for each in records if each.state == WorkflowState.PAUSED])
    kinds = {kind for each in records if each.needs for kind in each.needs.agent_types}
    there = pools(connection, kinds, moment)
    return {
        each.record.id: waiting(_facts(each, moment, known, pauses.get(each.record.id), there))
        for each in live
    }


def engines(connection: Connection, sources: Collection[str]) -> dict[str, Engine]:
    """When each was heard, and what it holds. Whether it is connected is for others to say."""
    names = sorted(sources)
    heard: dict[str, int] = {}
    for some in slices(names, AT_ONCE):
        query = (
            select(ENGINES_HEARD.c.source, func.max(ENGINES_HEARD.c.heard_us))
            .where(ENGINES_HEARD.c.source.in_(some))
            .group_by(ENGINES_HEARD.c.source)
        )
        heard.update((source, heard_us) for source, heard_us in connection.execute(query))
    holds = _holds(connection, names)
    return {name: Engine(name, False, heard.get(name, 0), holds.get(name, ())) for name in names}


def pools(connection: Connection, kinds: Collection[str], moment: Moment) -> dict[str, Pool]:
    """The agents of these types that are there."""
    since = moment.now_us - moment.offline_after_us
    full = case((and_(AGENTS.c.full, not_(AGENTS.c.draining)), 1), else_=0)
    draining = case((AGENTS.c.draining, 1), else_=0)
    found: dict[str, Pool] = {}
    for some in slices(sorted(kinds), AT_ONCE):
        query = (
            select(AGENTS.c.type, func.count(), func.sum(draining), func.sum(full))
            .where(
                AGENTS.c.type.in_(some),
                AGENTS.c.last_seen_us > 0,
                AGENTS.c.last_seen_us >= since,
                AGENTS.c.gone.is_(False),
            )
            .group_by(AGENTS.c.type)
        )
        for kind, there, drains, fulls in connection.execute(query):
            found[kind] = Pool(there, int(drains), int(fulls))
    return found


def _holds(connection: Connection, sources: Sequence[str]) -> dict[str, list[Hold]]:
    found: dict[str, list[Hold]] = {}
    for some in slices(sources, AT_ONCE):
        query = (
            select(QUEUES)
            .where(QUEUES.c.source.in_(some), QUEUES.c.state == int(QueueState.PAUSED))
            .limit(HOLDS_SEEN)
        )
        paused = [record_of(row) for row in connection.execute(query).mappings()]
        by = last_paused(connection, [queue_target(each.name) for each in paused])
        now = {
            each.name: command
            for each in paused
            if (command := by.get(queue_target(each.name))) is not None
            and (command.effect_us or 0) >= each.since_us
        }
        for scope in {About(*name[2:]) for name in now}:
            of = {name.source: name for name in now if not name.name and About(*name[2:]) == scope}
            stopped = {source: now[name] for source, name in of.items()}
            held = _held(connection, Kind.ENGINE, stopped, scope)
            now.update((name, held[source]) for source, name in of.items())
        for each in sorted(paused, key=lambda record: record.name):
            hold = Hold(*each.name[1:], each.since_us, now.get(each.name))
            found.setdefault(each.name.source, []).append(hold)
    return found


def _pauses(connection: Connection, paused: Sequence[WorkflowRecord]) -> dict[str, Command]:
    """By which command each is paused: one that had its effect since the engine last said that it moves."""
    found: dict[str, Command] = {}
    moving = {record.id: record for record in paused}
    for some in slices(sorted(moving), AT_ONCE):
        newest = (
            select(func.max(COMMANDS.c.sequence))
            .where(
                COMMANDS.c.workflow_id.in_(some),
                COMMANDS.c.scope == int(Scope.RUN),
                COMMANDS.c.action == int(Action.PAUSE),
                COMMANDS.c.state == int(CommandState.EFFECTIVE),
            )
            .group_by(COMMANDS.c.workflow_id)
        )
        sequences = list(connection.execute(newest).scalars())
        query = select(COMMANDS).where(COMMANDS.c.sequence.in_(sequences))
        for row in connection.execute(query).mappings():
            command = command_of(row)
            record = moving[command.workflow_id]
            if (command.attempt, command.effect_us or 0) >= record.moving:
                found[record.id] = command
    return _held(connection, Kind.WORKFLOW, found)


def _held(
    connection: Connection, kind: Kind, paused: Mapping[str, Command], scope: About | None = None
) -> dict[str, Command]:
    """The same, by what is paused, in the name of the stop that holds it now: one that let go may have left it to
    another, of the same scope if that is stated, and what one that is over could not let go nobody holds any more."""
    found = dict(paused)
    if not any(command.stop_id for command in paused.values()):
        return found
    in_force = {stop.id: stop for stop in stop_rows.open_stops(connection)}
    left = [id for id, each in paused.items() if each.stop_id and each.stop_id not in in_force]
    heirs = {id: stop for id, stop in in_force.items() if scope in (None, stop.scope)}
    keepers = stop_rows.holders(connection, kind, left, heirs) if left and heirs else {}
    for id in left:
        heir = heirs.get(keepers.get(id, ""))
        if heir is None:
            found[id] = replace(found[id], stop_id="")
            continue
        reason = f"emergency stop {heir.stage.confirmation}: {heir.reason}"
        found[id] = replace(found[id], stop_id=heir.id, actor=heir.actor, reason=reason)
    return found


def _facts(
    asked: Asked,
    moment: Moment,
    known: Mapping[str, Engine],
    pause: Command | None,
    there: Mapping[str, Pool],
) -> Facts:
    record, needs = asked.record, asked.record.needs
    connected = asked.executor is not None and asked.executor.connected
    resume = next((each for each in asked.actions if each.action == Action.RESUME), None)
    waits_for = record.asked if record.asked[0] == record.attempt else None
    return Facts(
        state=record.state,
        engine=known[record.source[2]]._replace(connected=connected),
        now_us=moment.now_us,
        silent_after_us=moment.silent_after_us,
        workflow_type=record.type[1],
        pending=asked.pending,
        pause=pause,
        pause_us=record.report_us if pause is None else pause.effect_us or record.report_us,
        cannot_resume="" if resume is None else resume.reason,
        asked=None if waits_for is None else waits_for[1:],
        create_us=record.known_us,
        in_hand=0 if needs is None else needs.in_hand,
        needs=() if needs is None else sorted(needs.waiting),
        pools=there,
    )
