"""Emergency stops as people start, escalate and release them, on any replica. Carrying them out is the lead's: see
`stop_runner`.

Each verb judges and writes in one transaction with its audit record and with the event that tells everybody; what is
refused is recorded too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.errors import (
    EtagMismatch,
    LimitExceeded,
    NotConfirmed,
    NotFound,
    PilothouseError,
    RequestIdReused,
    WrongState,
)
from pilothouse_server.domain.events import Event, EventError, EventType, Severity
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.settling import SERVER_SOURCE
from pilothouse_server.domain.stops import (
    Kind,
    Scope,
    Stage,
    Stop,
    StopState,
    Target,
    TargetState,
    stopping,
    wanted,
)
from pilothouse_server.ports import Clock
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.stop_ports import Moment, StopStore, StopTransaction, StopView
from pilothouse_server.services.watch import WatchSource

MOST_OPEN: Final = 20
"""Stops that are not over."""
NOT_ABLE_SHOWN: Final = 100
AGENTS_PREVIEWED: Final = 10_000


class Preview(NamedTuple):
    """What a stop would do now."""

    asked: Mapping[Kind, int]
    not_able: Sequence[Target]
    not_able_count: int


@dataclass(frozen=True, slots=True)
class StopRequest:
    """What somebody asks for. An empty `request_id` is none; an empty `etag` is not checked."""

    actor: str
    reason: str
    stop_id: str = ""
    """Of an escalation or a release: which one."""
    stage: Stage = Stage.HOLD_NEW
    scope: Scope = field(default_factory=Scope)
    confirmation: str = ""
    request_id: str = ""
    etag: str = ""

    def digest(self, verb: str) -> str:
        """What tells it from another request."""
        said = (verb, self.actor, self.reason, self.stop_id, int(self.stage), tuple(_said(self)))
        return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


def _said(request: StopRequest) -> tuple[str, str]:
    return request.scope.workflow_type, request.scope.agent_type


Act = Callable[[StopTransaction, int], "Stop | PilothouseError"]


class EmergencyStops:
    """The verbs of `EmergencyStopService`."""

    def __init__(
        self,
        store: StopStore[StopTransaction],
        follow: Callable[[bool], WatchSource[StopView]],
        clock: Clock,
        *,
        changes: Changes,
        told: Callable[[], None],
        new_id: Callable[[], str],
        configured: Callable[[], PlatformConfig] = PlatformConfig,
    ) -> None:
        """`changes`: of stops; `told`: called when there is something for the relay."""
        self._store = store
        self.follow = follow
        """The source of a watch; True for one that begins with what is not over."""
        self._clock = clock
        self._changes = changes
        self._told = told
        self._new_id = new_id
        self._configured = configured

    async def start(self, request: StopRequest) -> StopView:
        """A new stop, in force. Raises NotConfirmed, LimitExceeded, RequestIdReused."""
        stop_id = self._new_id()

        def run(transaction: StopTransaction, now_us: int) -> Stop | PilothouseError:
            if (error := _unconfirmed(request)) is not None:
                return error
            count = len(transaction.open())
            if count >= MOST_OPEN:
                return LimitExceeded("emergency stops that are not over", MOST_OPEN, count + 1)
            return Stop(
                id=stop_id,
                stage=request.stage,
                scope=request.scope,
                state=StopState.ACTIVE,
                reason=request.reason,
                actor=request.actor,
                start_us=now_us,
                stage_us=now_us,
            )

        return await self._act("start", request, run)

    async def escalate(self, request: StopRequest) -> StopView:
        """The stop, at a further stage. Raises NotFound, NotConfirmed, WrongState, EtagMismatch, RequestIdReused."""

        def run(transaction: StopTransaction, now_us: int) -> Stop | PilothouseError:
            stop = _judged(transaction, request, "escalate")
            if isinstance(stop, PilothouseError):
                return stop
            if request.stage <= stop.stage:
                detail = f"the next stage has to go further than {stop.stage.name}"
                return WrongState(
                    "emergency_stop", stop.id, stop.stage.name, f"escalate to {request.stage.name}",
                    detail,
                )  # fmt: skip
            if (error := _unconfirmed(request)) is not None:
                return error
            transaction.forget_attempts(stop.id)
            return replace(stop, stage=request.stage, stage_us=now_us, quiet_us=None, told=False)

        return await self._act("escalate", request, run)

    async def release(self, request: StopRequest) -> StopView:
        """The stop, RELEASING. Raises NotFound, WrongState, EtagMismatch, RequestIdReused."""

        def run(transaction: StopTransaction, now_us: int) -> Stop | PilothouseError:
            stop = _judged(transaction, request, "release")
            if isinstance(stop, PilothouseError):
                return stop
            transaction.forget_attempts(stop.id)
            return replace(
                stop,
                state=StopState.RELEASING,
                released_by=request.actor,
                release_reason=request.reason,
                release_us=now_us,
            )

        return await self._act("release", request, run)

    async def preview(self, stage: Stage, scope: Scope) -> Preview:
        """What a stop would do now, and what would not obey."""
        now_us = self._clock.now_us()
        stop = Stop("", stage, scope, StopState.ACTIVE, "", "", now_us, now_us)
        moment = Moment(now_us, self._configured().agent_offline_after_us)
        return await self._store.read(lambda transaction: _preview(transaction, stop, moment))

    async def get(self, stop_id: str) -> StopView:
        """One stop. Raises NotFound."""

        def run(transaction: StopTransaction) -> StopView:
            return transaction.views([_there(transaction, stop_id)])[0]

        return await self._store.read(run)

    async def page(
        self, size: int, token: str, *, released: bool
    ) -> tuple[Sequence[StopView], str]:
        """Stops, newest first, and the token of the next page. Raises InvalidPageToken."""

        def run(transaction: StopTransaction) -> tuple[Sequence[StopView], str]:
            stops, following = transaction.page(size, token, released=released)
            return transaction.views(stops), following

        return await self._store.read(run)

    async def targets(
        self, stop_id: str, states: Collection[TargetState], size: int, token: str
    ) -> tuple[Sequence[Target], str]:
        """What a stop acts on, and the token of the next page. Raises NotFound, InvalidPageToken."""

        def run(transaction: StopTransaction) -> tuple[Sequence[Target], str]:
            return transaction.target_page(_there(transaction, stop_id).id, states, size, token)

        return await self._store.read(run)

    async def _act(self, verb: str, request: StopRequest, act: Act) -> StopView:
        now_us, asked = self._clock.now_us(), request.digest(verb)

        def run(transaction: StopTransaction) -> StopView | PilothouseError:
            earlier = transaction.requested(request.request_id) if request.request_id else None
            if earlier is not None and earlier[1] == asked:
                return transaction.views([_there(transaction, earlier[0])])[0]
            before = transaction.get(request.stop_id) if request.stop_id else None
            after = (
                RequestIdReused(request.request_id)
                if earlier is not None
                else act(transaction, now_us)
            )
            if isinstance(after, PilothouseError):
                transaction.record([_refused(verb, request, after, now_us)])
                return after
            transaction.put(after)
            if request.request_id:
                transaction.granted(request.request_id, after.id, asked)
            transaction.record([_accepted(verb, request, before, after, now_us)])
            transaction.tell([_began(verb, request, after, now_us)])
            return transaction.views([after])[0]

        answer = await self._store.write(run)
        if isinstance(answer, PilothouseError):
            raise answer
        self._changes.notify()
        self._told()
        return answer


def event_of(stop: Stop, what: str, severity: Severity, message: str, now_us: int) -> Event:
    """What is said of a stop on the stream of events; its id follows from what is said, so that it is said once."""
    return Event(
        id=f"{stop.id}:{what}",
        type=EventType.LOG,
        occur_us=now_us,
        receive_us=now_us,
        source=SERVER_SOURCE,
        severity=severity,
        message=message,
        attributes={
            "emergency_stop_id": stop.id,
            "stage": stop.stage.name,
            "scope": str(stop.scope),
            "state": stop.state.name,
            "actor": stop.released_by or stop.actor,
            "reason": stop.release_reason or stop.reason,
        },
    )


def _there(transaction: StopTransaction, stop_id: str) -> Stop:
    stop = transaction.get(stop_id)
    if stop is None:
        raise NotFound("emergency_stop", stop_id)
    return stop


def _judged(
    transaction: StopTransaction, request: StopRequest, action: str
) -> Stop | PilothouseError:
    """The stop, if something can be asked of it."""
    stop = transaction.get(request.stop_id)
    if stop is None:
        return NotFound("emergency_stop", request.stop_id)
    if request.etag and request.etag != stop.etag:
        return EtagMismatch("emergency stop", stop.id, stop.etag)
    if stop.state != StopState.ACTIVE:
        return WrongState("emergency_stop", stop.id, stop.state.name, action, "start another one")
    return stop


def _unconfirmed(request: StopRequest) -> NotConfirmed | None:
    word = request.stage.confirmation
    return None if request.confirmation == word else NotConfirmed(word)


def _preview(transaction: StopTransaction, stop: Stop, moment: Moment) -> Preview:
    keys = list(transaction.engines(stop, transaction.working(stop.scope)))
    if wanted(stop.stage, Kind.AGENT):
        keys += transaction.agents(stop, "", AGENTS_PREVIEWED)
    asked = dict.fromkeys(Kind, 0)
    not_able: list[Target] = []
    for key, (_, facts) in transaction.facts(stop, keys, moment).items():
        verdict = stopping(stop, key, None, facts, moment.now_us)
        if verdict.ask is not None:
            asked[key[0]] += 1
        elif verdict.target is not None and verdict.target.state == TargetState.REFUSED:
            not_able.append(verdict.target)
    count = len(not_able)
    if wanted(stop.stage, Kind.WORKFLOW):
        paused = stop.stage == Stage.CANCEL_ALL
        numbers = transaction.by_engine(stop.scope, paused=paused)
        unable = transaction.unable(stop, numbers.keys())
        asked[Kind.WORKFLOW] = sum(n for source, n in numbers.items() if source not in unable)
        count += sum(n for source, n in numbers.items() if source in unable)
        room = max(NOT_ABLE_SHOWN - len(not_able), 0)
        if unable and room:
            some = transaction.of_engines(stop.scope, unable.keys(), room, paused=paused)
            not_able += [
                Target(
                    Kind.WORKFLOW, id, TargetState.REFUSED, moment.now_us, moment.now_us,
                    error=unable[source],
                )
                for id, source in some
            ]  # fmt: skip
    return Preview(asked, not_able[:NOT_ABLE_SHOWN], count)


def _accepted(
    verb: str, request: StopRequest, before: Stop | None, after: Stop, now_us: int
) -> Entry:
    return Entry(
        record_us=now_us,
        actor=request.actor,
        verb=f"emergency_stop.{verb}",
        target_kind="emergency_stop",
        target_id=after.id,
        outcome=Outcome.ACCEPTED,
        reason=request.reason,
        before={} if before is None else where(before),
        after=where(after),
        request_id=request.request_id,
        stop_id=after.id,
    )


def where(stop: Stop) -> dict[str, str]:
    """Where a stop stands, for the audit log."""
    said = {"stage": stop.stage.name, "state": stop.state.name, "scope": str(stop.scope)}
    return dict(sorted(said.items()))


def _refused(verb: str, request: StopRequest, error: PilothouseError, now_us: int) -> Entry:
    return Entry(
        record_us=now_us,
        actor=request.actor,
        verb=f"emergency_stop.{verb}",
        target_kind="emergency_stop",
        target_id=request.stop_id,
        outcome=Outcome.REFUSED,
        reason=request.reason,
        error=EventError(error.reason, error.message),
        request_id=request.request_id,
        stop_id=request.stop_id,
    )


def _began(verb: str, request: StopRequest, stop: Stop, now_us: int) -> Event:
    by = f"by {request.actor}: {request.reason}"
    if verb == "release":
        message = f"emergency stop of {stop.scope} is being released {by}"
        return event_of(stop, "release", Severity.WARNING, message, now_us)
    message = f"emergency stop of {stop.scope}: {stop.stage.confirmation}, {by}"
    return event_of(stop, stop.stage.name.lower(), Severity.CRITICAL, message, now_us)
