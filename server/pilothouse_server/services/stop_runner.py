"""Carries emergency stops out, where the lead is.

What is to be done follows from what is the case (`domain.stops`), so nothing has to be remembered: whoever leads next
reads all that has not ended once, and from then on what changes. A step is one transaction that judges anew, asks, and
notes what it asked; a kill between two steps leaves nothing half done.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Protocol

from pilothouse_server.domain import commands
from pilothouse_server.domain.audit import Entry, Outcome
from pilothouse_server.domain.commands import Deadlines
from pilothouse_server.domain.errors import PilothouseError, Unavailable
from pilothouse_server.domain.events import EventError, Severity
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.domain.stops import (
    LETTING_GO,
    Facts,
    Key,
    Kind,
    Scope,
    Stage,
    Stop,
    StopState,
    Target,
    Verdict,
    asked,
    counted,
    inherited,
    let_go,
    quiet,
    releasing,
    stopping,
    wanted,
)
from pilothouse_server.domain.workflows import Action
from pilothouse_server.ports import Clock
from pilothouse_server.services.control import Asking, ControlRequest, ControlSignals, ask
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.stops import (
    Moment,
    StopStore,
    StopTransaction,
    event_of,
    where,
)

SLICE: Final = 500
"""Targets of one kind that are looked at together."""
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
SURVEY_US: Final = 1_000_000
"""Between two looks at which engines are there, and between two rounds through the agents."""
WORKING_US: Final = 10_000_000
"""Between two looks for engines that work and are not connected."""
NAMESPACE: Final = uuid.UUID("6f1c3a52-9d1e-5c0a-8d57-2b7a35f0c0de")
"""Of the request ids of what stops ask for."""

Reading = tuple[int, int, str]
"""Where a reading of all workflows that have not ended has come."""


class RunTransaction(StopTransaction, Protocol):
    """What carrying out needs besides."""

    def newest(self) -> int:
        """The revision behind which changes are to be read."""
        ...

    def active(
        self, scope: Scope, place: Reading | None, limit: int
    ) -> tuple[Sequence[str], Reading | None]:
        """The next workflows in scope that have not ended, and where to go on; None: these were the last."""
        ...

    def changed(self, stop: Stop, mark: int, limit: int) -> tuple[Sequence[str], int, bool]:
        """The workflows of the stop that changed since, the revision from which to go on, and whether there is more."""
        ...

    def target_keys(self, stop_id: str, kind: Kind, after: str, limit: int) -> Sequence[Key]:
        """The next targets of a kind, by id."""
        ...

    def due(self, stop_id: str, now_us: int, limit: int) -> Sequence[Key]:
        """Targets that are to be looked at again by now."""
        ...

    def any_waiting(self, stop_id: str) -> bool:
        """Whether some targets are to be looked at again later."""
        ...

    def targets(self, stop_id: str, keys: Collection[Key]) -> Mapping[Key, Target]:
        """Those that there are."""
        ...

    def save(self, stop_id: str, targets: Iterable[Target]) -> None:
        """Stores new and changed ones."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody who carries out a stop has come; made anew whenever the stop goes further."""

    stage: Stage
    state: StopState
    mark: int
    """Workflows up to this revision were looked at, or will be in the first reading."""
    reading: Reading | None = None
    read: bool = False
    """Whether the first reading of workflows is over."""
    listed: str = ""
    gone_through: bool = False
    """Whether all workflows that are targets were looked at."""
    engines: tuple[Key, ...] = ()
    engines_us: int = 0
    working: frozenset[str] = frozenset()
    working_us: int = 0
    connects: Mapping[str, int] = field(default_factory=dict[str, int])
    """When each engine connected, as the last look found it."""
    agent: str = ""
    agents_us: int = 0
    """When the last round through the agents ended; 0: none has."""


class Survey(NamedTuple):
    """What one look found."""

    stop: Stop | None
    keys: Sequence[Key]
    """Targets for which something is to be done."""
    place: Place
    more: bool
    """Whether there is more to look at right now."""


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
        survey = await self._store.read(
            lambda transaction: _survey(transaction, stop.id, place, moment)
        )
        if survey.stop is None:
            return False
        for first in range(0, len(survey.keys), STEP):
            keys = survey.keys[first : first + STEP]
            if not await self._apply(survey.stop, keys):
                self._places.pop(stop.id, None)
                return True
        self._places[stop.id] = survey.place
        if survey.keys or survey.more:
            return survey.more
        await self._settle(survey.stop)
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
        verdicts = {key: _verdict(stop, key, *gathered[key], moment.now_us) for key in keys}
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
        deadlines = Deadlines.of(self._configured())
        for target, action, request in wishes:
            answer = ask(asker, request, Asking(self._new_id(), now_us, deadlines))
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


def _verdict(stop: Stop, key: Key, target: Target | None, facts: Facts, now_us: int) -> Verdict:
    if stop.state == StopState.ACTIVE:
        if not wanted(stop.stage, key[0]):
            return Verdict(target)
        return stopping(stop, key, target, facts, now_us)
    return Verdict(None) if target is None else releasing(stop, target, facts, now_us)


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


def _survey(
    transaction: RunTransaction, stop_id: str, place: Place | None, moment: Moment
) -> Survey:
    """What is to be done for a stop. Reads only, some of everything at a time."""
    stop = transaction.get(stop_id)
    if stop is None or stop.state == StopState.RELEASED:
        return Survey(None, (), Place(Stage.HOLD_NEW, StopState.RELEASED, 0), more=False)
    if place is None or (place.stage, place.state) != (stop.stage, stop.state):
        place = Place(stop.stage, stop.state, transaction.newest())
    place = _engines(transaction, stop, place, moment.now_us)
    keys: dict[Key, None] = dict.fromkeys(place.engines)
    place = _agents(transaction, stop, place, keys, moment.now_us)
    place, more = _workflows(transaction, stop, place, keys)
    due = transaction.due(stop.id, moment.now_us, SLICE)
    keys.update(dict.fromkeys(due))
    gathered = transaction.facts(stop, keys, moment)
    connects = {source: gathered[Kind.ENGINE, source][1].connect_us for _, source in place.engines}
    came = any(at > place.connects.get(source, at) for source, at in connects.items())
    place = replace(place, connects=connects)
    if came:
        # What was refused for want of its engine is looked at again.
        place = replace(place, reading=None, read=False, listed="", gone_through=False, agents_us=0)
    to_do = [
        key
        for key, (target, facts) in gathered.items()
        if _is_news(_verdict(stop, key, target, facts, moment.now_us), target)
    ]
    unseen = not place.agents_us and _has_agents(stop)
    return Survey(stop, to_do, place, more or came or unseen or len(due) == SLICE)


def _is_news(verdict: Verdict, target: Target | None) -> bool:
    return verdict.ask is not None or verdict.target != target


def _has_agents(stop: Stop) -> bool:
    return stop.state == StopState.RELEASING or wanted(stop.stage, Kind.AGENT)


def _engines(transaction: RunTransaction, stop: Stop, place: Place, now_us: int) -> Place:
    if place.engines_us and now_us - place.engines_us < SURVEY_US:
        return place
    if stop.state == StopState.RELEASING:
        held = transaction.target_keys(stop.id, Kind.ENGINE, "", SLICE)
        return replace(place, engines=tuple(held), engines_us=now_us)
    if not place.working_us or now_us - place.working_us >= WORKING_US:
        working = frozenset(transaction.working(stop.scope))
        place = replace(place, working=working, working_us=now_us)
    found = tuple(transaction.engines(stop, place.working))
    return replace(place, engines=found, engines_us=now_us)


def _agents(
    transaction: RunTransaction, stop: Stop, place: Place, keys: dict[Key, None], now_us: int
) -> Place:
    """The next agents of a round: those in scope, and those that are targets."""
    if not _has_agents(stop) or (
        not place.agent and place.agents_us and now_us - place.agents_us < SURVEY_US // 4
    ):
        return place
    some = set(transaction.target_keys(stop.id, Kind.AGENT, place.agent, SLICE))
    if stop.state == StopState.ACTIVE:
        some.update(transaction.agents(stop, place.agent, SLICE))
    chosen = sorted(some)[:SLICE]
    keys.update(dict.fromkeys(chosen))
    if len(chosen) < SLICE:
        return replace(place, agent="", agents_us=now_us)
    return replace(place, agent=chosen[-1][1])


def _workflows(
    transaction: RunTransaction, stop: Stop, place: Place, keys: dict[Key, None]
) -> tuple[Place, bool]:
    """The next workflows: of the first reading, of those that are targets, and of those that changed."""
    active = stop.state == StopState.ACTIVE
    if active and not wanted(stop.stage, Kind.WORKFLOW):
        return place, False
    if active and not place.read:
        ids, reading = transaction.active(stop.scope, place.reading, SLICE)
        keys.update(dict.fromkeys((Kind.WORKFLOW, id) for id in ids))
        return replace(place, reading=reading, read=reading is None), True
    if not place.gone_through:
        some = transaction.target_keys(stop.id, Kind.WORKFLOW, place.listed, SLICE)
        keys.update(dict.fromkeys(some))
        over = len(some) < SLICE
        listed = "" if over else some[-1][1]
        return replace(place, listed=listed, gone_through=over), True
    changed, mark, more = transaction.changed(stop, place.mark, SLICE)
    keys.update(dict.fromkeys((Kind.WORKFLOW, id) for id in changed))
    return replace(place, mark=mark), more
