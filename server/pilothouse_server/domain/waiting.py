"""Why a workflow does not move: one reason, the first that applies in the order of `WaitCause`, with its remedy.

A workflow moves while it is RUNNING, its engine is there, and one of its tasks is in an agent's hand or could be.
Nothing is claimed that is not known: an engine that was never heard of by name is not silent, a task that does not say
which agents can do it waits for none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from pilothouse_server.domain.commands import Boundary, Command, CommandState
from pilothouse_server.domain.projection.needs import Need
from pilothouse_server.domain.workflows import ENDED, Action, WorkflowState

BUDGET_ACTOR = "budget:"
"""What stands before the name of a budget that asks for a pause."""


class WaitCause(IntEnum):
    """Why. The numbers are those of the contract, and their order decides which of several is told."""

    COMMAND_PENDING = 1
    PAUSED = 2
    EMERGENCY_STOP = 3
    BUDGET = 4
    HELD = 5
    INPUT = 6
    ENGINE_SILENT = 7
    NO_AGENT = 8
    AGENTS_DRAINING = 9
    POOL_FULL = 10
    NOT_STARTED = 11


@dataclass(frozen=True, slots=True)
class Waiting:
    """The reason in words, with names. What it is since is told apart, so that the words stay true."""

    cause: WaitCause
    reason: str
    since_us: int | None = None
    remedy: str = ""
    action: Action | None = None
    """The act that does it on this workflow."""
    subject: str = ""
    """What the remedy is about."""


class Hold(NamedTuple):
    """A queue that the engine takes nothing from; without a name all that it starts, or all of one type."""

    queue: str = ""
    workflow_type: str = ""
    agent_type: str = ""
    since_us: int = 0
    by: Command | None = None
    """The command that paused it; None when the engine did by itself."""


class Pool(NamedTuple):
    """The agents of one type that are there: how many, and how many of them take nothing."""

    there: int = 0
    draining: int = 0
    full: int = 0
    """With as much in hand as they can; draining ones are not among them."""


class Engine(NamedTuple):
    """The engine that reports the workflow."""

    source: str = ""
    connected: bool = False
    """Whether it takes commands now."""
    heard_us: int = 0
    """When an event of it was last received; 0 is not known."""
    holds: Sequence[Hold] = ()

    def silent(self, now_us: int, after_us: int) -> bool:
        """Whether it is not there: neither connected nor heard of."""
        return not self.connected and 0 < self.heard_us < now_us - after_us


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the reason is decided on."""

    state: WorkflowState
    engine: Engine
    now_us: int
    silent_after_us: int = 60_000_000
    workflow_type: str = ""
    pending: Command | None = None
    pause: Command | None = None
    """PAUSED: the command by which it is; None when the engine did it by itself."""
    pause_us: int = 0
    cannot_resume: str = ""
    """Why resuming cannot be asked for; "" when it can."""
    asked: tuple[int, str] | None = None
    """WAITING: (when, what for)."""
    create_us: int = 0
    in_hand: int = 0
    """Tasks in agents' hands."""
    needs: Sequence[Need] = ()
    """What its other tasks wait for."""
    pools: Mapping[str, Pool] = field(default_factory=dict[str, Pool])
    """By type of agent."""

    @property
    def silent(self) -> bool:
        """Whether the engine is not there."""
        return self.engine.silent(self.now_us, self.silent_after_us)


def waiting(facts: Facts) -> Waiting | None:
    """Why it does not move; None when it does, and when it has ended."""
    if facts.state in ENDED:
        return None
    blocked = _blocked(facts)
    if facts.state == WorkflowState.RUNNING and not facts.silent and not blocked:
        return None
    found = [*_commanded(facts), *_stood(facts), *blocked]
    if facts.silent and facts.state != WorkflowState.PAUSED:
        found.append(_silence(facts))
    return min(found, key=lambda each: each.cause)


def _commanded(facts: Facts) -> Iterator[Waiting]:
    command, engine = facts.pending, facts.engine
    if command is None:
        return
    asked = f"{command.action.name.lower()} was asked for by {command.actor or 'somebody'}"
    taken = command.state == CommandState.ACCEPTED
    reason = (
        f"{asked}, and the engine took it but has not done it yet"
        if taken
        else f"{asked}, and the engine has not taken it yet"
    )
    remedy = "wait for the engine"
    if not engine.connected:
        reason += f": {_named(engine)} is not connected"
        remedy = "start the engine: it takes the command when it connects"
    elif command.boundary == Boundary.STEP:
        remedy = "wait: the engine acts when the step in hand is done"
    yield Waiting(WaitCause.COMMAND_PENDING, reason, command.request_us, remedy, subject=command.id)


def _stood(facts: Facts) -> Iterator[Waiting]:
    """What its state says by itself."""
    match facts.state:
        case WorkflowState.PAUSED:
            yield _paused(facts)
        case WorkflowState.WAITING:
            when, what = facts.asked or (None, "")
            yield Waiting(
                WaitCause.INPUT,
                f"waits for an answer from outside{f': {what}' if what else ''}",
                when,
                "give the answer where the engine asks for it",
                subject=facts.engine.source,
            )
        case WorkflowState.QUEUED:
            yield Waiting(
                WaitCause.NOT_STARTED,
                f"{_named(facts.engine)} knows of it and has not started it yet",
                facts.create_us,
                subject=facts.engine.source,
            )
        case _:
            pass


def _paused(facts: Facts) -> Waiting:
    command, since_us = facts.pause, facts.pause_us
    action = None if facts.cannot_resume else Action.RESUME
    remedy = f"it cannot be resumed from here: {facts.cannot_resume}" if action is None else ""
    if command is None:
        return Waiting(
            WaitCause.PAUSED,
            f"paused by {_named(facts.engine)} itself",
            since_us,
            remedy or "resume it",
            action,
            facts.engine.source,
        )
    if command.stop_id:
        return _stopped(command, since_us)
    if command.budget_id:
        return Waiting(
            WaitCause.BUDGET,
            f"paused by the budget {command.actor.removeprefix(BUDGET_ACTOR)}{_why(command)}",
            since_us,
            remedy or "resume it: this budget pauses it no second time; or raise the ceiling",
            action,
            command.budget_id,
        )
    return Waiting(
        WaitCause.PAUSED,
        f"paused by {command.actor or 'somebody'}{_why(command)}",
        since_us,
        remedy or "resume it",
        action,
        command.id,
    )


def _stopped(command: Command, since_us: int) -> Waiting:
    return Waiting(
        WaitCause.EMERGENCY_STOP,
        f"held by the emergency stop of {command.actor or 'somebody'}{_why(command)}",
        since_us,
        "release the emergency stop",
        subject=command.stop_id,
    )


def _blocked(facts: Facts) -> list[Waiting]:
    """Why none of its tasks, or not even the workflow itself, is begun; nothing when one may be."""
    if facts.state == WorkflowState.QUEUED:
        whole = _held(facts, None)
        if whole is not None:
            return [whole]
    if facts.in_hand or not facts.needs:
        return []
    if facts.state not in (WorkflowState.QUEUED, WorkflowState.RUNNING):
        return []
    found = [_held(facts, need) or _crowded(facts.pools, need) for need in facts.needs]
    return [] if None in found else [each for each in found if each is not None]


def _held(facts: Facts, need: Need | None) -> Waiting | None:
    """Whether the engine starts nothing of its kind, or takes nothing from the task's queue."""
    for hold in facts.engine.holds:
        if hold.queue and (need is None or need.queue != hold.queue):
            continue
        if hold.workflow_type and hold.workflow_type != facts.workflow_type:
            continue
        if hold.agent_type and (need is None or need.agent_type != hold.agent_type):
            continue
        return _hold(facts.engine, hold)
    return None


def _hold(engine: Engine, hold: Hold) -> Waiting:
    command = hold.by
    if command is not None and command.stop_id:
        return _stopped(command, hold.since_us)
    if hold.queue:
        what, remedy = f"takes nothing from the queue {hold.queue}", "resume the queue"
    elif hold.workflow_type:
        what, remedy = f"starts no workflow of type {hold.workflow_type}", "let it start them again"
    elif hold.agent_type:
        what, remedy = f"gives agents of type {hold.agent_type} nothing", "let it go on with them"
    else:
        what, remedy = "starts nothing new", "let the engine start work again"
    by = "" if command is None else f", paused by {command.actor or 'somebody'}{_why(command)}"
    return Waiting(
        WaitCause.HELD,
        f"{_named(engine)} {what}{by}",
        hold.since_us or None,
        remedy,
        subject=hold.queue or hold.workflow_type or hold.agent_type or engine.source,
    )


def _crowded(pools: Mapping[str, Pool], need: Need) -> Waiting | None:
    """Whether nobody could take the task."""
    kind = need.agent_type
    if not kind:
        return None
    pool = pools.get(kind, Pool())
    if not pool.there:
        told, remedy = f"no agent of type {kind} is online", "start one"
        return Waiting(WaitCause.NO_AGENT, told, None, remedy, subject=kind)
    every = "the only agent" if pool.there == 1 else f"all {pool.there} agents"
    if pool.draining >= pool.there:
        told = f"{every} of type {kind} {'is' if pool.there == 1 else 'are'} draining"
        remedy = "activate one of them, or start another"
        return Waiting(WaitCause.AGENTS_DRAINING, told, None, remedy, subject=kind)
    if pool.draining + pool.full >= pool.there:
        verb = "has" if pool.there == 1 else "have"
        told = f"{every} of type {kind} {verb} no room for more work"
        remedy = "wait, make the pool larger, or start another agent"
        return Waiting(WaitCause.POOL_FULL, told, None, remedy, subject=kind)
    return None


def _silence(facts: Facts) -> Waiting:
    return Waiting(
        WaitCause.ENGINE_SILENT,
        f"{_named(facts.engine)} has not been heard of",
        facts.engine.heard_us,
        "start the engine again; if it is gone for good, an admin can close the workflow",
        subject=facts.engine.source,
    )


def _named(engine: Engine) -> str:
    return f"the engine {engine.source}" if engine.source else "its engine"


def _why(command: Command) -> str:
    return f": {command.reason}" if command.reason else ""
