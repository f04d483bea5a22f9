"""Carries emergency stops out, where the lead is.

What is to be done follows from what is the case (`domain.stops`), so nothing has to be remembered: whoever leads next
reads all that has not ended once, and from then on what changes. A step is one transaction that judges anew, asks, and
notes what it asked; a kill between two steps leaves nothing half done.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pilothouse_server.domain import commands
from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.commands import Deadlines
from pilothouse_server.domain.errors import PilothouseError, Unavailable
from pilothouse_server.domain.events import EventError, Severity
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.stops import (
    LETTING_GO,
    Key,
    Kind,
    Stop,
    StopState,
    Target,
    Verdict,
    asked,
    counted,
    inherited,
    let_go,
    quiet,
)
from pilothouse_server.domain.workflows import Action
from pilothouse_server.ports import Clock
from pilothouse_server.services.asking import Asking, ControlRequest, ask
from pilothouse_server.services.control import ControlSignals
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.stop_ports import Moment, RunTransaction, StopStore
from pilothouse_server.services.stop_survey import Place, survey, verdict_of
from pilothouse_server.services.stops import event_of, where

STEP: Final = 200
"""Targets that one transaction asks."""
PACE: Final = 0.05
"""Seconds between two looks; what changes in between is seen together."""
LOOK: Final = 0.25
"""Seconds between two looks at a stop when nothing changes: heartbeats that are missing change no row."""
IDLE_LOOK: Final = 2.0
"""Seconds between two looks for stops when nobody rings."""
RETRY: Final = 0.5
"""Seconds after which it tries again when the database did not answer."""
NAMESPACE: Final = uuid.UUID("6f1c3a52-9d1e-5c0a-8d57-2b7a35f0c0de")
"""Of the request ids of what stops ask for."""


class StopRunner:
    """Carries out all stops that are not over. `waiting_for` tells what it retries, "" when all is well."""

    def __init__(
        self,
        store: StopStore[RunTransaction],
        clock: Clock,
        *,
        changes: Changes,
        signals: ControlSignals,
        new_id: Callable[[], str],
        configured: Callable[[], PlatformConfig] = PlatformConfig,
    ) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes
        self._signals = signals
        self._new_id = new_id
        self._configured = configured
        self._places: dict[str, Place] = {}
        self.waiting_for = ""

    async def run(self) -> None:
        """Runs until it is cancelled. Raises LeaseLost."""
        while True:
            stops, rows = self._changes.version, self._signals.workflows.version
            try:
                busy = await self.look()
            except Unavailable as error:
                self.waiting_for = error.message
                await self._clock.sleep(RETRY)
                continue
            self.waiting_for = ""
            if busy:
                continue
            if self._places:
                await self._clock.sleep(PACE)
                await self._signals.workflows.wait(rows, LOOK)
            else:
                await self._changes.wait(stops, IDLE_LOOK)

    async def look(self) -> bool:
        """One step of each stop; returns whether there is more to do at once. Raises Unavailable, LeaseLost."""
        stops = await self._store.read(lambda transaction: transaction.open())
        open_ids = {stop.id for stop in stops}
        self._places = {id: place for id, place in self._places.items() if id in open_ids}
        more = False
        for stop in stops:
            more = await self._step(stop) or more
        return more

    async def _step(self, stop: Stop) -> bool:
        moment, place = self._moment(), self._places.get(stop.id)
        found = await self._store.read(
            lambda transaction: survey(transaction, stop.id, place, moment)
        )
        if found.stop is None:
            return False
        for first in range(0, len(found.keys), STEP):
            keys = found.keys[first : first + STEP]
            if not await self._apply(found.stop, keys):
                self._places.pop(stop.id, None)
                return True
        self._places[stop.id] = found.place
        if found.keys or found.more:
            return found.more
        await self._settle(found.stop)
        return False

    async def _apply(self, seen: Stop, keys: Sequence[Key]) -> bool:
        """Does what is to be done for these targets; False when the stop has gone further meanwhile."""
        moment = self._moment()

        def run(transaction: RunTransaction) -> bool:
            stop = transaction.get(seen.id)
            if stop is None or stop.etag != seen.etag:
                return False
            self._do(transaction, stop, keys, moment)
            return True

        done = await self._store.write(run)
        self._tell()
        return done

    def _do(
        self, transaction: RunTransaction, stop: Stop, keys: Sequence[Key], moment: Moment
    ) -> None:
        gathered = transaction.facts(stop, keys, moment)
        verdicts = {key: verdict_of(stop, key, *gathered[key], moment.now_us) for key in keys}
        before = {key: target for key, (target, _) in gathered.items() if target is not None}
        after = self._asked(transaction, stop, verdicts, moment.now_us)
        after = [target for target in after if target != before.get(target.key)]
        for key, verdict in verdicts.items():
            if verdict.heir:
                _hand_over(transaction, verdict.heir, before[key], moment.now_us)
        if not after:
            return
        transaction.save(stop.id, after)
        counts = counted(stop.counts, before, after)
        still = stop.quiet_us if quiet(stop.stage, counts) else None
        active = stop.state == StopState.ACTIVE
        transaction.put(replace(stop, counts=counts, quiet_us=still if active else stop.quiet_us))

    def _asked(
        self,
        transaction: RunTransaction,
        stop: Stop,
        verdicts: Mapping[Key, Verdict],
        now_us: int,
    ) -> list[Target]:
        """The targets as they are once those that are to be asked were."""
        wishes = [
            (target, action, _request(stop, target, action))
            for target, action, _ in verdicts.values()
            if target is not None and action is not None
        ]
        found = [
            target
            for target, action, _ in verdicts.values()
            if target is not None and action is None
        ]
        if not wishes:
            return found
        asker = transaction.asker(
            [request.workflow_id for _, _, request in wishes if request.workflow_id],
            [request.request_id for _, _, request in wishes],
        )
        config = self._configured()
        deadlines, offline_us = Deadlines.of(config), config.agent_offline_after_us
        for target, action, request in wishes:
            asking = Asking(self._new_id(), now_us, deadlines, offline_us)
            answer = ask(asker, request, asking)
            if isinstance(answer, PilothouseError):
                refusal = EventError(answer.reason, answer.message, not _final(answer))
                found.append(asked(target, action, refusal, now_us))
            else:
                found.append(asked(target, action, answer, now_us))
        asker.flush()
        return found

    async def _settle(self, seen: Stop) -> None:
        """Notes that the stop is quiet, or over."""
        if seen.state == StopState.ACTIVE:
            if seen.quiet_us is not None or not quiet(seen.stage, seen.counts):
                return
        elif not let_go(seen.counts):
            return
        now_us = self._clock.now_us()

        def run(transaction: RunTransaction) -> bool:
            stop = transaction.get(seen.id)
            if stop is None or (stop.etag, stop.counts) != (seen.etag, seen.counts):
                return False
            if stop.state == StopState.ACTIVE:
                _note_quiet(transaction, stop, now_us)
                return True
            if transaction.any_waiting(stop.id):
                return False
            _note_over(transaction, stop, now_us)
            return True

        if await self._store.write(run):
            self._tell()

    def _moment(self) -> Moment:
        return Moment(self._clock.now_us(), self._configured().agent_offline_after_us)

    def _tell(self) -> None:
        self._changes.notify()
        self._signals.notify()


def _request(stop: Stop, target: Target, action: Action) -> ControlRequest:
    """What is asked of a target; a repeat of the same step has the same id."""
    letting_go = stop.state == StopState.RELEASING and action == LETTING_GO[target.kind]
    said = f"{stop.id}/{int(target.kind)}/{target.id}/{int(action)}/{target.asks}"
    why = stop.release_reason if letting_go else stop.reason
    what = "emergency stop released" if letting_go else f"emergency stop {stop.stage.confirmation}"
    request = ControlRequest(
        workflow_id=target.id if target.kind == Kind.WORKFLOW else "",
        action=action,
        reason=f"{what}: {why}"[:1024],
        request_id=str(uuid.uuid5(NAMESPACE, said)),
        actor=stop.released_by if letting_go else stop.actor,
        stop_id=stop.id,
    )
    match target.kind:
        case Kind.ENGINE:
            return replace(
                request,
                scope=commands.Scope.FLEET,
                source=target.id,
                workflow_type=stop.scope.workflow_type,
                agent_type=stop.scope.agent_type,
            )
        case Kind.AGENT:
            return replace(request, scope=commands.Scope.POOL, agent_id=target.id)
        case Kind.WORKFLOW:
            return request


def _final(error: PilothouseError) -> bool:
    return error.reason in ("UNSUPPORTED_BY_ENGINE", "WORKFLOW_NOT_FOUND", "AGENT_NOT_FOUND")


def _hand_over(transaction: RunTransaction, heir: str, from_: Target, now_us: int) -> None:
    """The stop that found the target stopped holds it from now on."""
    stop = transaction.get(heir)
    before = transaction.targets(heir, [from_.key])
    if stop is None or from_.key not in before:
        return
    held = inherited(before[from_.key], from_, now_us)
    transaction.save(heir, [held])
    transaction.put(replace(stop, counts=counted(stop.counts, before, [held])))


def _note_quiet(transaction: RunTransaction, stop: Stop, now_us: int) -> None:
    now_us = max(now_us, stop.stage_us)
    transaction.put(replace(stop, quiet_us=now_us, told=True))
    if stop.told:
        return
    took = (now_us - stop.stage_us) / 1_000_000
    message = f"emergency stop of {stop.scope}: quiet {took:.3g} s after {stop.stage.confirmation}"
    what = f"{stop.stage.name.lower()}-quiet"
    transaction.tell([event_of(stop, what, Severity.WARNING, message, now_us)])
    verb = "start" if stop.stage_us == stop.start_us else "escalate"
    transaction.record([_outcome(stop, verb, stop.actor, stop.reason, now_us)])


def _note_over(transaction: RunTransaction, stop: Stop, now_us: int) -> None:
    over = replace(stop, state=StopState.RELEASED, end_us=max(now_us, stop.release_us or 0))
    transaction.put(over)
    message = f"emergency stop of {stop.scope} is released"
    transaction.tell([event_of(over, "released", Severity.WARNING, message, now_us)])
    transaction.record([_outcome(over, "release", over.released_by, over.release_reason, now_us)])


def _outcome(stop: Stop, verb: str, actor: str, reason: str, now_us: int) -> Entry:
    """What came of an act, with how many targets stand where."""
    counts = {
        f"{kind.name.lower()}s {state.name.lower()}": str(count)
        for (kind, state), count in stop.counts.items()
    }
    return Entry(
        record_us=now_us,
        actor=actor,
        verb=f"emergency_stop.{verb}",
        target_kind="emergency_stop",
        target_id=stop.id,
        outcome=Outcome.EFFECTIVE,
        reason=reason,
        after=where(stop) | counts,
        stop_id=stop.id,
    )
