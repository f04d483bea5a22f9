"""A flow of events of known content, made from nothing but a seed: what is said, in which deliveries, by whom.

    main      what happens by itself, spread over `SPAN` seconds: out of order, some of it twice, by several publishers
    alarm     what makes both rules fire; then the operator waits until they do
    relief    what resolves them; sent only after that, so that nobody can sleep through an alert
    steered   workflows that an engine runs as it is told (`steering.py`), beside all of that

All times are offsets to the flow's beginning, which lies in the past, so that nothing happens in the future.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pilothouse.v1.events_pb2 import AgentLoad, Event, EventError, EventType
from pilothouse_server.domain.alerts.conditions import AlertMetric, Comparison, Threshold
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.metrics.snapshot import MINUTE_US, Dimension
from tests.faults.story import MILLISECOND, SECOND, Cast, Said, Story, agent_type, ordinary

SPAN = 2.5
"""Seconds over which the main part is delivered."""
BEGAN_US = 30 * SECOND
"""The flow's beginning lies so long before its first delivery."""
LONG_AGO_US = -300 * SECOND
"""Beyond the lateness that windows allow, and within what totals do."""
BREAKS_US = 21 * SECOND
"""When the many end that the second rule is about: they are in every shard."""
PUBLISHERS = 3
BACKLOG = 70
"""Tasks that wait in the alarm."""
BROKEN, MENDED = 40, 90
"""Workflows that fail in the alarm, and that complete in the relief: 40 of 130 is less than 40 %."""

RULES = (
    Rule(
        id="backlog",
        name="Backlog",
        condition=Threshold(
            metric=AlertMetric.QUEUE_DEPTH,
            dimension=Dimension.WORKFLOW_TYPE,
            comparison=Comparison.GREATER_THAN,
            threshold=BACKLOG - 10,
        ),
        for_us=300 * MILLISECOND,
        keep_firing_us=300 * MILLISECOND,
    ),
    Rule(
        id="breakage",
        name="Breakage",
        condition=Threshold(
            metric=AlertMetric.ERROR_RATE,
            dimension=Dimension.WORKFLOW_TYPE,
            comparison=Comparison.GREATER_THAN,
            threshold=0.4,
            window_us=60 * MINUTE_US,
            min_samples=BROKEN,
        ),
    ),
)
"""No type but those of the alarm can have so many waiting tasks, or so many ends."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Events that go in one call, so many seconds after the main part began."""

    at: float
    said: tuple[Said, ...]


class Flow:
    """Everything that will be said under one prefix, and by it everything that has to be known afterwards."""

    def __init__(self, seed: int, prefix: str) -> None:
        chance = random.Random(seed)
        self.seed = seed
        self.prefix = prefix
        self.cast = Cast(prefix, [f"{prefix}{name}" for name in ("coder-1", "coder-2", "tester-1")])
        self.stories = [*self._ordinary(chance), *self._long_ago(chance), self._skewed(chance)]
        self.foreign = [self._story(chance, f"foreign-{n}", "foreign", "bus") for n in range(3)]
        for story in self.foreign:
            ordinary(chance, story)
        self.backlog, self.broken = self._backlog(chance), self._broken()
        self.agents = list(self._agents(chance))
        self.farewells = list(self._farewells())
        self.logs = list(self._logs(chance))
        self.main = self._deliveries(chance)
        self.foreign_main = self._foreign_deliveries(chance)

    @property
    def sources(self) -> tuple[str, ...]:
        """Who says what this flow says, but for the steered part."""
        return tuple(
            f"{self.prefix}{name}" for name in ("engine-a", "engine-b", "bus", "alarm", "fleet")
        )

    def said(self) -> Iterator[Said]:
        """Everything once, but for the steered part."""
        for story in (*self.stories, *self.foreign):
            yield from story.said
        yield from (*self.agents, *self.logs, *self.alarm(), *self.relief())

    def alarm(self) -> list[Said]:
        """What makes both rules fire."""
        waits = EventType.EVENT_TYPE_TASK_QUEUED
        return [s for s in self.backlog.said if s.event.type == waits] + [
            each for story in self.broken[:BROKEN] for each in story.said
        ]

    def relief(self) -> list[Said]:
        """What resolves them, and the farewells of the agents."""
        waits = EventType.EVENT_TYPE_TASK_QUEUED
        return (
            [s for s in self.backlog.said if s.event.type != waits]
            + [each for story in self.broken[BROKEN:] for each in story.said]
            + self.farewells
        )

    def _story(
        self, chance: random.Random, name: str, kind: str, source: str, at_us: int | None = None
    ) -> Story:
        at_us = chance.randrange(4 * SECOND) if at_us is None else at_us
        return Story(chance, self.cast, name, kind, source, at_us)

    def _ordinary(self, chance: random.Random) -> Iterator[Story]:
        for number in range(chance.randint(10, 16)):
            kind, source = (
                chance.choice(("build", "review")),
                chance.choice(("engine-a", "engine-b")),
            )
            story = self._story(chance, f"wf-{number:02}", kind, source)
            ordinary(chance, story)
            yield story

    def _long_ago(self, chance: random.Random) -> Iterator[Story]:
        """So late that no window counts them, and totals and rows do."""
        for number in range(2):
            story = self._story(chance, f"late-{number}", "late", "engine-a", LONG_AGO_US)
            story.created("plan", "code")
            story.started()
            story.completed()
            yield story

    def _skewed(self, chance: random.Random) -> Story:
        """The clock that saw the end is behind the one that saw the start."""
        story = self._story(chance, "skewed", "review", "engine-b", 6 * SECOND)
        story.started()
        story.now_us -= 2 * SECOND
        story.completed()
        return story

    def _backlog(self, chance: random.Random) -> Story:
        story = self._story(chance, "backlog", "alarm", "alarm", 20 * SECOND)
        for number in range(BACKLOG):
            stage = f"{self.prefix}wait"
            story.tell_at(
                20 * SECOND + number,
                EventType.EVENT_TYPE_TASK_QUEUED,
                stage=stage,
                task_id=f"t{number:02}",
            )
        story.now_us = 24 * SECOND
        story.cancelled()
        return story

    def _broken(self) -> list[Story]:
        stories: list[Story] = []
        for number in range(BROKEN + MENDED):
            story = Story(
                random.Random(number),
                self.cast,
                f"frail-{number:03}",
                "frail",
                "alarm",
                BREAKS_US,
            )
            (story.failed if number < BROKEN else story.completed)()
            stories.append(story)
        return stories

    def _agents(self, chance: random.Random) -> Iterator[Said]:
        for agent in self.cast.agents:
            yield self._of_agent(agent, 0, EventType.EVENT_TYPE_AGENT_REGISTERED, 0)
            for beat in range(1, 6):
                kind = EventType.EVENT_TYPE_AGENT_HEARTBEAT
                yield self._of_agent(agent, beat, kind, beat * 3 * SECOND, chance.randint(0, 4))
        if chance.random() < 0.5:
            agent = chance.choice(self.cast.agents)
            kind = EventType.EVENT_TYPE_AGENT_DRAINING
            yield self._of_agent(agent, 8, kind, 16 * SECOND)

    def _farewells(self) -> Iterator[Said]:
        for agent in self.cast.agents:
            kind = EventType.EVENT_TYPE_AGENT_OFFLINE
            yield self._of_agent(agent, 9, kind, 25 * SECOND, message="the flow is over")

    def _of_agent(
        self,
        agent: str,
        number: int,
        kind: EventType.ValueType,
        at_us: int,
        active: int | None = None,
        *,
        message: str = "",
    ) -> Said:
        event = Event(
            id=f"{agent}/{number}",
            type=kind,
            source=f"{self.prefix}fleet",
            agent_id=agent,
            agent_type=agent_type(agent),
            message=message,
        )
        if active is not None:
            event.load.CopyFrom(AgentLoad(active=active, capacity=4))
        return Said(at_us, event)

    def _logs(self, chance: random.Random) -> Iterator[Said]:
        for number in range(5):
            yield Said(
                chance.randrange(9 * SECOND),
                Event(
                    id=f"{self.prefix}log/{number}",
                    type=EventType.EVENT_TYPE_LOG,
                    source=f"{self.prefix}engine-a",
                    workflow_id=chance.choice(self.stories).id,
                    message=f"line {number}",
                    error=EventError(code="NOTED") if number == 0 else None,
                ),
            )

    def _deliveries(self, chance: random.Random) -> list[list[Delivery]]:
        """For each publisher: in which calls, and when. A tenth comes twice, from whomever."""
        said = [each for story in self.stories for each in story.said]
        said += [*self.agents, *self.logs]
        length = max(each.offset_us for each in said)
        placed: list[list[tuple[float, Said]]] = [[] for _ in range(PUBLISHERS)]
        for each in said:
            at = SPAN * max(each.offset_us, 0) / length + chance.gauss(0, 0.15)
            home = hash_of(each.event.workflow_id.removeprefix(self.prefix)) % PUBLISHERS
            placed[home].append((at, each))
            if chance.random() < 0.1:
                again = at + chance.expovariate(4)
                placed[chance.randrange(PUBLISHERS)].append((again, each))
        return [list(_calls(chance, one)) for one in placed]

    def _foreign_deliveries(self, chance: random.Random) -> list[Delivery]:
        placed = [(SPAN * chance.random(), each) for story in self.foreign for each in story.said]
        return [Delivery(at, (each,)) for at, each in sorted(placed, key=lambda one: one[0])]


def _calls(chance: random.Random, placed: list[tuple[float, Said]]) -> Iterator[Delivery]:
    placed.sort(key=lambda one: one[0])
    while placed:
        size = chance.randint(1, 12)
        call, placed = placed[:size], placed[size:]
        yield Delivery(min(max(call[-1][0], 0.0), 2 * SPAN), tuple(each for _, each in call))


def hash_of(text: str) -> int:
    """A number of a text that is the same in every process."""
    return sum(text.encode())


def at(began_us: int, said: Sequence[Said]) -> list[Event]:
    """The events with the times that they have in a flow that began then."""
    events: list[Event] = []
    for offset_us, event in said:
        told = Event()
        told.CopyFrom(event)
        told.occur_time.FromMicroseconds(began_us + offset_us)
        events.append(told)
    return events
