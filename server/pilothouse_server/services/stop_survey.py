"""One look at an emergency stop: what is to be done for it, and how far the look has come.

Whoever takes a stop up reads all that has not ended once, slice by slice, and from then on what changes. So nothing of
this has to be stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from pilothouse_server.domain.stops import (
    DISOBEYING,
    Facts,
    Key,
    Kind,
    Stage,
    Stop,
    StopState,
    Target,
    Verdict,
    following,
    releasing,
    stopping,
    wanted,
)
from pilothouse_server.services.stop_ports import Moment, Reading, RunTransaction

SLICE: Final = 500
"""Targets of one kind that are looked at together."""
SURVEY_US: Final = 1_000_000
"""Between two looks at which engines are there."""
ROUND_US: Final = 250_000
"""Between two rounds through the agents: heartbeats that are missing change no row."""
WORKING_US: Final = 10_000_000
"""Between two looks for engines that work and are not connected."""


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
    read_us: int = 0
    """When it was."""
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


def verdict_of(stop: Stop, key: Key, target: Target | None, facts: Facts, now_us: int) -> Verdict:
    if stop.state == StopState.ACTIVE:
        if not wanted(stop.stage, key[0]):
            return Verdict(None) if target is None else following(target, facts, now_us)
        return stopping(stop, key, target, facts, now_us)
    return Verdict(None) if target is None else releasing(stop, target, facts, now_us)


def survey(
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
    place, more = _workflows(transaction, stop, place, keys, moment.now_us)
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
        if _is_news(verdict_of(stop, key, target, facts, moment.now_us), target)
    ]
    unseen = not place.agents_us and _has_agents(stop)
    return Survey(stop, to_do, place, more or came or unseen or len(due) == SLICE)


def _is_news(verdict: Verdict, target: Target | None) -> bool:
    return verdict.ask is not None or verdict.target != target


def _has_agents(stop: Stop) -> bool:
    """Whether agents are to be looked at: those of an earlier stage while some have not obeyed it."""
    if stop.state == StopState.RELEASING or wanted(stop.stage, Kind.AGENT):
        return True
    return any(stop.counts.get((Kind.AGENT, state)) for state in DISOBEYING)


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
        not place.agent and place.agents_us and now_us - place.agents_us < ROUND_US
    ):
        return place
    some = set(transaction.target_keys(stop.id, Kind.AGENT, place.agent, SLICE))
    if stop.state == StopState.ACTIVE and wanted(stop.stage, Kind.AGENT):
        some.update(transaction.agents(stop, place.agent, SLICE))
    chosen = sorted(some)[:SLICE]
    keys.update(dict.fromkeys(chosen))
    if len(chosen) < SLICE:
        return replace(place, agent="", agents_us=now_us)
    return replace(place, agent=chosen[-1][1])


def _workflows(
    transaction: RunTransaction, stop: Stop, place: Place, keys: dict[Key, None], now_us: int
) -> tuple[Place, bool]:
    """The next workflows: of the first reading, of those that are targets, and of those that changed."""
    active = stop.state == StopState.ACTIVE
    if active and not wanted(stop.stage, Kind.WORKFLOW):
        return place, False
    if active and place.read and stop.scope.agent_type and now_us - place.read_us >= SURVEY_US:
        # Of which type an agent is may be told after it took work, and changes no workflow.
        place = replace(place, reading=None, read=False)
    if active and not place.read:
        ids, reading = transaction.active(stop.scope, place.reading, SLICE)
        keys.update(dict.fromkeys((Kind.WORKFLOW, id) for id in ids))
        return replace(place, reading=reading, read=reading is None, read_us=now_us), True
    if not place.gone_through:
        some = transaction.target_keys(stop.id, Kind.WORKFLOW, place.listed, SLICE)
        keys.update(dict.fromkeys(some))
        over = len(some) < SLICE
        listed = "" if over else some[-1][1]
        return replace(place, listed=listed, gone_through=over), True
    changed, mark, more = transaction.changed(stop, place.mark, SLICE)
    keys.update(dict.fromkeys((Kind.WORKFLOW, id) for id in changed))
    return replace(place, mark=mark), more
