"""Emergency stops: what each target of one has to be asked for next, decided from what is the case now.

Nothing here remembers a plan. A look at the facts says what a target needs, so a stop can be taken up by anybody at any
moment. What a stop *holds* is what it stopped itself: its own command is the newest that had an effect on the target.
Only that is let go.

    ACTIVE ──▶ RELEASING ──▶ RELEASED        stages, of an ACTIVE one: HOLD_NEW ▶ DRAIN ▶ PAUSE_ALL ▶ CANCEL_ALL
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pilothouse_server.domain.commands import Command, CommandState
from pilothouse_server.domain.events import EventError
from pilothouse_server.domain.workflows import Action

SECOND_US: Final = 1_000_000
MOST_ATTEMPTS: Final = 8
"""Times in a row that a target is asked without effect; then it is asked again when its engine connects anew."""
LONGEST_BACKOFF_US: Final = 60 * SECOND_US
PATIENCE_US: Final = 3600 * SECOND_US
"""For so long a release waits for an engine that is away; then what it holds counts as not released."""


class Stage(IntEnum):
    """How far a stop goes. The numbers are those of the contract."""

    HOLD_NEW = 1
    DRAIN = 2
    PAUSE_ALL = 3
    CANCEL_ALL = 4

    @property
    def confirmation(self) -> str:
        """What has to be typed."""
        return self.name.replace("_", " ")


class StopState(IntEnum):
    """Where a stop stands. The numbers are those of the contract."""

    ACTIVE = 1
    RELEASING = 2
    RELEASED = 3


class Kind(IntEnum):
    """What a target is. The numbers are those of the contract."""

    ENGINE = 1
    AGENT = 2
    WORKFLOW = 3


class TargetState(IntEnum):
    """Where a target stands. The numbers are those of the contract."""

    ASKED = 1
    OBEYED = 2
    WAS_SO = 3
    REFUSED = 4
    ENDED = 5
    RELEASED = 6
    NOT_RELEASED = 7


_T = TargetState

DISOBEYING = frozenset({_T.ASKED, _T.REFUSED, _T.NOT_RELEASED})
"""Where a target stands that does not do what the stop wants of it, or not yet."""
LET_BE = frozenset({_T.WAS_SO, _T.ENDED, _T.RELEASED})
"""Where a release has nothing more to do."""

STOPPING = {Kind.ENGINE: Action.PAUSE, Kind.AGENT: Action.DRAIN, Kind.WORKFLOW: Action.PAUSE}
LETTING_GO = {Kind.ENGINE: Action.RESUME, Kind.AGENT: Action.ACTIVATE, Kind.WORKFLOW: Action.RESUME}
UNDOING = frozenset({Action.RESUME, Action.ACTIVATE, Action.RESTART})
"""What makes a target go on that is stopped."""

Key = tuple[Kind, str]
Counts = Mapping[tuple[Kind, TargetState], int]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a stop is about; with nothing stated, everything."""

    workflow_type: str = ""
    agent_type: str = ""

    @property
    def narrow(self) -> bool:
        """Whether it is less than everything."""
        return bool(self.workflow_type or self.agent_type)

    def __str__(self) -> str:
        said = (("workflows of type", self.workflow_type), ("agents of type", self.agent_type))
        return ", ".join(f"{what} {name}" for what, name in said if name) or "everything"


@dataclass(frozen=True, slots=True)
class Stop:
    """One emergency stop. Times are the server's."""

    id: str
    stage: Stage
    scope: Scope
    state: StopState
    reason: str
    actor: str
    start_us: int
    stage_us: int
    """When its stage was asked for."""
    quiet_us: int | None = None
    told: bool = False
    """Whether it was told that this stage is quiet: that is told once."""
    released_by: str = ""
    release_reason: str = ""
    release_us: int | None = None
    end_us: int | None = None
    counts: Counts = field(default_factory=lambda: MappingProxyType({}))

    @property
    def etag(self) -> str:
        """Changes with its stage and state."""
        said = f"{self.id}/{int(self.stage)}/{int(self.state)}"
        return hashlib.sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Target:
    """One target of a stop."""

    kind: Kind
    id: str
    state: TargetState
    since_us: int
    """Since when it obeys, or does not."""
    update_us: int
    command_id: str = ""
    """The newest command that asked it."""
    hold_id: str = ""
    """The command by which this stop stopped it; "" when it did not, or did not try yet."""
    hold_sequence: int = 0
    asks: int = 0
    """How often it was asked in all: part of the id of each request."""
    attempts: int = 0
    """How often in a row without effect."""
    asked_us: int = 0
    retry_us: int | None = None
    """When to look at it again though nothing changed; None: only then."""
    error: EventError | None = None

    @property
    def key(self) -> Key:
        """What tells it from the others of its stop."""
        return self.kind, self.id


class Facts(NamedTuple):
    """What is the case with a target now."""

    ended: bool = False
    """There is nothing to stop or let go: the workflow has ended, the agent or the engine is gone."""
    stopped: bool = False
    """It is paused, draining, or starts nothing new."""
    idle: bool = True
    """Whether it has nothing in hand; an agent that drains may have."""
    attempt: int = 1
    """Of a workflow."""
    pending: Command | None = None
    """The command on it that has not ended."""
    last: Command | None = None
    """The newest that stopped it or let it go, by the engine's own report."""
    newest: Command | None = None
    """The command of its `command_id`."""
    hold: Command | None = None
    """The command of its `hold_id`."""
    unable: EventError | None = None
    """Why its engine cannot be asked; retryable when that is because it is not connected."""
    connect_us: int = 0
    """When its engine connected."""
    heir: str = ""
    """Another stop in force that found it stopped, and keeps it so when this one lets go."""


class Verdict(NamedTuple):
    """What becomes of a target; None is no target. With `ask` that action is asked for first: see `asked`."""

    target: Target | None
    ask: Action | None = None
    heir: str = ""
    """The stop that holds it from now on."""


def wanted(stage: Stage, kind: Kind) -> bool:
    """Whether targets of the kind belong to the stage. What an earlier stage stopped stays so."""
    match kind:
        case Kind.ENGINE:
            return True
        case Kind.AGENT:
            return stage == Stage.DRAIN
        case Kind.WORKFLOW:
            return stage >= Stage.PAUSE_ALL


def quiet(stage: Stage, counts: Counts) -> bool:
    """Whether all that the stage wants is so.

    HOLD_NEW: each engine holds. DRAIN: and each agent drains and has nothing in hand. PAUSE_ALL: nothing in scope is
    queued, runs or waits. CANCEL_ALL: everything in scope has ended. Of the last two an engine that cannot hold keeps
    nothing back: what it starts is stopped one by one, and the stop is not quiet while some of it is not.
    """
    for (kind, state), count in counts.items():
        if not count or state not in DISOBEYING or not wanted(stage, kind):
            continue
        if kind == Kind.ENGINE and stage >= Stage.PAUSE_ALL and state == TargetState.REFUSED:
            continue
        return False
    return True


def counted(counts: Counts, before: Mapping[Key, Target], after: Iterable[Target]) -> Counts:
    """The counts once these targets changed."""
    sums = Counter(dict(counts))
    for target in after:
        if (old := before.get(target.key)) is not None:
            sums[old.kind, old.state] -= 1
        sums[target.kind, target.state] += 1
    return {key: count for key, count in sorted(sums.items()) if count > 0}


def let_go(counts: Counts) -> bool:
    """Whether a release has nothing more to ask for."""
    return not any(
        count for (_, state), count in counts.items() if state in (_T.ASKED, _T.OBEYED, _T.REFUSED)
    )


def goal(stage: Stage, kind: Kind) -> Action:
    """What the stage asks of a target."""
    if kind == Kind.WORKFLOW and stage == Stage.CANCEL_ALL:
        return Action.CANCEL
    return STOPPING[kind]


def stopping(stop: Stop, key: Key, target: Target | None, facts: Facts, now_us: int) -> Verdict:
    """What an ACTIVE stop does about a target. What people asked for and has not ended comes first: their pause stays
    theirs, their resume is waited for and then stopped; only a cancel overtakes."""
    if facts.ended:
        return Verdict(target and _at(target, now_us, TargetState.ENDED, retry_us=None, error=None))
    target = target or Target(*key, TargetState.ASKED, since_us=now_us, update_us=now_us)
    action, pending = goal(stop.stage, target.kind), facts.pending
    if pending is not None and pending.action == action:
        return Verdict(_waits(target, now_us, pending.id))
    if facts.stopped and action != Action.CANCEL:
        if (pending is not None and pending.action in UNDOING) or not facts.idle:
            return Verdict(_waits(target, now_us, target.command_id))
        state = TargetState.OBEYED if holds(target, facts) else TargetState.WAS_SO
        return Verdict(_at(target, now_us, state, attempts=0, retry_us=None, error=None))
    if pending is not None and action != Action.CANCEL:
        return Verdict(_waits(target, now_us, target.command_id))
    if facts.unable is not None:
        return Verdict(_at(target, now_us, TargetState.REFUSED, retry_us=None, error=facts.unable))
    return _asking(target, facts, action, TargetState.REFUSED, now_us)


def following(target: Target, facts: Facts, now_us: int) -> Verdict:
    """What becomes of a target that only an earlier stage was about: nothing is asked of it, and what it was asked for
    before may still take effect."""
    if target.state not in DISOBEYING or (facts.pending is not None and not facts.stopped):
        return Verdict(target)
    if facts.ended:
        return Verdict(_at(target, now_us, TargetState.ENDED, retry_us=None, error=None))
    if facts.stopped:
        state = TargetState.OBEYED if holds(target, facts) else TargetState.WAS_SO
        return Verdict(_at(target, now_us, state, retry_us=None, error=None))
    error = target.error or (facts.newest and facts.newest.error)
    return Verdict(_at(target, now_us, TargetState.REFUSED, retry_us=None, error=error))


def releasing(stop: Stop, target: Target, facts: Facts, now_us: int) -> Verdict:
    """What a RELEASING stop does about a target: lets go what it holds, and nothing else. What waits for its own pause
    to take effect is let go after that, and what fell silent while it was held is not taken for gone."""
    silent = target.state == TargetState.ENDED and target.kind != Kind.WORKFLOW and target.hold_id
    if target.state in LET_BE and not (silent and not facts.ended):
        return Verdict(target)
    if facts.ended:
        return Verdict(_at(target, now_us, TargetState.ENDED, retry_us=None, error=None))
    if facts.pending is not None:
        ours = facts.pending.id if facts.pending.stop_id == stop.id else target.command_id
        state = TargetState.ASKED if target.state == TargetState.REFUSED else target.state
        return Verdict(_at(target, now_us, state, command_id=ours, retry_us=None))
    if not facts.stopped:
        return Verdict(_at(target, now_us, TargetState.RELEASED, retry_us=None, error=None))
    if not holds(target, facts):
        return Verdict(_at(target, now_us, TargetState.WAS_SO, retry_us=None, error=None))
    if facts.heir:
        released = _at(target, now_us, TargetState.RELEASED, retry_us=None, error=None)
        return Verdict(released, heir=facts.heir)
    if facts.unable is not None:
        until_us = (stop.release_us or now_us) + PATIENCE_US
        waits = facts.unable.retryable and now_us < until_us
        state, retry_us = TargetState.NOT_RELEASED, until_us if waits else None
        return Verdict(_at(target, now_us, state, retry_us=retry_us, error=facts.unable))
    return _asking(target, facts, LETTING_GO[target.kind], TargetState.NOT_RELEASED, now_us)


def holds(target: Target, facts: Facts) -> bool:
    """Whether what is stopped is so by the command of this stop: one that an engine took, of this attempt, after which
    no other had an effect."""
    if not target.hold_id:
        return False
    hold = facts.hold
    if hold is not None:
        never = hold.state == CommandState.EXPIRED and hold.accept_us is None
        other_attempt = target.kind == Kind.WORKFLOW and hold.attempt != facts.attempt
        if never or other_attempt or hold.state == CommandState.FAILED:
            return False
    return facts.last is None or facts.last.sequence <= target.hold_sequence


def asked(target: Target, action: Action, answer: Command | EventError, now_us: int) -> Target:
    """The target after it was asked: the command, or why there is none."""
    refused = isinstance(answer, EventError)
    letting_go = action == LETTING_GO[target.kind]
    attempts = target.attempts + 1
    retry_us = now_us + backoff_us(attempts) if refused and attempts < MOST_ATTEMPTS else None
    counted: dict[str, Any] = {
        "asks": target.asks + 1,
        "attempts": attempts,
        "asked_us": now_us,
        "retry_us": retry_us,
    }
    if isinstance(answer, EventError):
        state = TargetState.NOT_RELEASED if letting_go else TargetState.REFUSED
        return _at(target, now_us, state, error=answer, **counted)
    counted["command_id"] = answer.id
    if action == STOPPING[target.kind]:
        counted |= {"hold_id": answer.id, "hold_sequence": answer.sequence}
    state = TargetState.OBEYED if letting_go else TargetState.ASKED
    return _at(target, now_us, state, error=None, **counted)


def inherited(target: Target, from_: Target, now_us: int) -> Target:
    """What was found stopped, once the stop that had stopped it lets go. What is to be ended still is."""
    held: dict[str, Any] = {"hold_id": from_.hold_id, "hold_sequence": from_.hold_sequence}
    if target.state != TargetState.WAS_SO:
        return replace(target, **held)
    return _at(target, now_us, TargetState.OBEYED, command_id=from_.hold_id, **held)


def backoff_us(attempts: int) -> int:
    """How long after an ask the next one may be."""
    return min(SECOND_US << max(attempts - 1, 0), LONGEST_BACKOFF_US)


def _asking(
    target: Target, facts: Facts, action: Action, failed: TargetState, now_us: int
) -> Verdict:
    """Asks, if it is time: at once at first and when the engine has connected since, else later each time."""
    attempts = 0 if facts.connect_us > target.asked_us else target.attempts
    if not target.asked_us or attempts < target.attempts:
        return Verdict(replace(target, attempts=attempts), action)
    due_us = target.asked_us + backoff_us(attempts)
    exhausted = attempts >= MOST_ATTEMPTS
    if not exhausted and now_us >= due_us:
        return Verdict(target, action)
    error = target.error or (facts.newest and facts.newest.error)
    retry_us = None if exhausted else due_us
    if error is None and not exhausted:
        waits = TargetState.ASKED if failed == TargetState.REFUSED else target.state
        return Verdict(_at(target, now_us, waits, retry_us=retry_us))
    error = error or EventError("NO_EFFECT", "what it was asked for had no lasting effect", True)
    return Verdict(_at(target, now_us, failed, retry_us=retry_us, error=error))


def _waits(target: Target, now_us: int, command_id: str) -> Target:
    state = TargetState.ASKED
    return _at(target, now_us, state, command_id=command_id, retry_us=None, error=None)


def _at(target: Target, now_us: int, state: TargetState, **fields: Any) -> Target:
    """The target with its new state; the very same when nothing is new."""
    changed = replace(target, state=state, **fields)
    if changed == target:
        return target
    if (state in DISOBEYING) != (target.state in DISOBEYING):
        changed = replace(changed, since_us=now_us)
    told = (state, changed.command_id, changed.error)
    if told != (target.state, target.command_id, target.error):
        changed = replace(changed, update_us=now_us)
    return changed
