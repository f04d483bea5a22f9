"""Questions to workers, and what follows from their answers.

Celery does not tell everything: a task that raises Ignore ends without a word, as one does whose worker is killed, and
events are not kept for who does not listen. So a task that began, and that no worker has in two rounds, is over. How
it ended is asked of the result backend where there is one; without, it has failed as far as anybody can know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from pilothouse.reporting import clip
from pilothouse.v1.events_pb2 import EventError, EventType
from pilothouse_server.connectors.celery.broker import Broker, Outcome
from pilothouse_server.connectors.celery.canvas import Canvases
from pilothouse_server.connectors.celery.control import names_of, pool_of
from pilothouse_server.connectors.celery.records import Found, TaskSeen
from pilothouse_server.connectors.celery.signals import exception_words, ident, micros
from pilothouse_server.connectors.celery.workers import Workers

MISSING = 2
"""Rounds in which a task has to be missing before its end is supposed."""
SETTLED_US = 3_000_000
"""A task that was heard of less long ago is not missed yet."""


@dataclass(frozen=True, slots=True)
class About:
    """What one worker says of itself."""

    queues: set[str]
    pool: Mapping[str, Any]
    conf: Mapping[str, Any]
    events_were_off: bool


@dataclass(slots=True)
class Round:
    """What all workers answered."""

    hosts: set[str] = field(default_factory=set[str])
    """Who said which tasks it has."""
    queues: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    pools: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    tasks: dict[str, Found] = field(default_factory=dict[str, Found])


async def about(broker: Broker, host: str) -> About | None:
    """Asks one worker; None when it does not answer. Its task events are on after it."""
    queues, stats, conf, enabled = await asyncio.gather(
        broker.ask("active_queues", of=[host]),
        broker.ask("stats", of=[host]),
        broker.ask("conf", {"with_defaults": True}, of=[host]),
        broker.ask("enable_events", of=[host]),
    )
    listed, table = queues.get(host), conf.get(host)
    if not isinstance(listed, list) or not isinstance(table, dict):
        return None
    said = str(enabled.get(host))
    return About(
        names_of(cast("list[object]", listed)),
        pool_of(stats.get(host)),
        cast("dict[str, Any]", table),
        events_were_off="task events enabled" in said,
    )


async def round_of(broker: Broker, online: Collection[str]) -> Round:
    """Asks all workers."""
    expect = len(online)
    queues, stats, active, reserved, scheduled = await asyncio.gather(
        broker.ask("active_queues", expect=expect),
        broker.ask("stats", expect=expect),
        broker.ask("active", {"safe": True}, expect=expect),
        broker.ask("reserved", expect=expect),
        broker.ask("scheduled", expect=expect),
    )
    answer = Round(hosts=set(active) & set(reserved) & set(scheduled))
    answer.queues = {
        host: names_of(cast("list[object]", each))
        for host, each in queues.items()
        if isinstance(each, list)
    }
    answer.pools = {host: pool_of(each) for host, each in stats.items()}
    for replies, is_active in ((scheduled, False), (reserved, False), (active, True)):
        for host, listed in replies.items():
            for each in _dicts(listed):
                info = each.get("request") if "request" in each else each
                if (found := _found(info, host, active=is_active)) is not None:
                    answer.tasks[found.uuid] = found
    return answer


async def known(broker: Broker, uuids: Sequence[str], expect: int) -> list[Found]:
    """Which of these tasks some worker has."""
    found: list[Found] = []
    for host, reply in (
        await broker.ask("query_task", {"ids": list(uuids)}, expect=expect)
    ).items():
        answers = cast("dict[str, object]", reply) if isinstance(reply, dict) else {}
        for answer in answers.values():
            if isinstance(answer, list | tuple) and len(cast("list[object]", answer)) == 2:
                state, info = cast("list[object]", answer)
                if (each := _found(info, host, active=state == "active")) is not None:
                    found.append(each)
    return found


def missing(canvases: Canvases, workers: Workers, seen: Round, now_us: int) -> list[TaskSeen]:
    """Tasks that began and that nobody has any more."""
    found: list[TaskSeen] = []
    for task in [canvases.tasks[uuid] for root in canvases.roots.values() for uuid in root.open]:
        newest = task.newest
        if newest is None or not newest.started or task.uuid in seen.tasks:
            task.missing = 0
            continue
        worker = workers.all.get(newest.host)
        finishing = worker is not None and worker.goodbye
        gone = worker is None or not (worker.online or finishing)
        if (newest.host in seen.hosts or gone) and now_us - task.touched_us > SETTLED_US:
            task.missing += 1
            if task.missing >= MISSING:
                found.append(task)
    return found


def unheard(canvases: Canvases, seen: Round, gap_us: int, limit: int) -> list[TaskSeen]:
    """Tasks that waited when events were missed, that nobody has, and of which nothing was heard since: what began and
    ended meanwhile was not told. They may still wait in a queue, so only a result says that they ended."""
    found: list[TaskSeen] = []
    for task in [canvases.tasks[uuid] for root in canvases.roots.values() for uuid in root.open]:
        newest = task.newest
        waits = newest is None or not newest.started
        if waits and task.uuid not in seen.tasks and task.touched_us <= gap_us:
            found.append(task)
            if len(found) == limit:
                break
    return found


def supposed(
    task: TaskSeen, workers: Workers, outcome: Outcome | None
) -> tuple[EventType.ValueType, EventError | None]:
    """How a task ended that nobody has any more."""
    match outcome:
        case Outcome(state="SUCCESS"):
            return EventType.EVENT_TYPE_TASK_COMPLETED, None
        case Outcome(state="REVOKED"):
            return EventType.EVENT_TYPE_TASK_CANCELLED, None
        case Outcome(state="FAILURE", error=said):
            code, words = exception_words(said)
            error = EventError(code=clip(code, 256), message=clip(words))
        case _:
            error = _unknown_end(task, workers)
    return EventType.EVENT_TYPE_TASK_FAILED, error


def _unknown_end(task: TaskSeen, workers: Workers) -> EventError:
    host = task.newest.host if task.newest else ""
    worker = workers.all.get(host)
    if worker is None or not worker.online:
        said = f"{host or 'its worker'} is gone, and did not say what became of it"
        return EventError(code="WORKER_LOST", message=said, retryable=True)
    said = f"{host} has it no more, and its end was not told; no result says what became of it"
    return EventError(code="END_NOT_SEEN", message=said)


def _dicts(listed: object) -> Iterator[Mapping[str, object]]:
    for each in cast("list[object]", listed) if isinstance(listed, list) else []:
        if isinstance(each, dict):
            yield cast("dict[str, object]", each)


def _found(info: object, host: str, *, active: bool) -> Found | None:
    told = cast("dict[str, object]", info) if isinstance(info, dict) else {}
    uuid = ident(told.get("id"))
    if not uuid:
        return None
    delivered = told.get("delivery_info")
    route = cast("dict[str, object]", delivered) if isinstance(delivered, dict) else {}
    return Found(
        uuid,
        ident(told.get("name")),
        host,
        active,
        start_us=micros(told.get("time_start")),
        queue=ident(route.get("routing_key")),
    )
