"""What a draft rule would have done: its instances, stepped over slots of the past by what steps them live.

A slot is looked at as the engine looks at a tick (`Observer`, `verdict_of`, `after`). What is in between two slots is
not seen. Time in which nobody looked counts towards no hold, as after a restart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pilothouse_server.domain.alerts.charting import Chart, Line, further
from pilothouse_server.domain.alerts.conditions import (
    Observation,
    Verdict,
    decisive_place,
)
from pilothouse_server.domain.alerts.observing import Listening, Observer, Subject, View
from pilothouse_server.domain.alerts.rules import NoDataPolicy, Rule
from pilothouse_server.domain.alerts.states import (
    Instance,
    absence_of,
    after,
    down,
    verdict_of,
)
from pilothouse_server.domain.alerts.words import AlertKind, labels_of, summary_of
from pilothouse_server.domain.metrics.snapshot import MetricsSnapshot


class WouldBe(NamedTuple):
    """An alert that there would have been. Times are slots."""

    name: str
    kind: AlertKind
    labels: Mapping[str, str]
    active_us: int
    fire_us: int | None
    """None when it would not have fired."""
    resolve_us: int | None
    """None when it would still be there."""
    worst: float | None
    """The value furthest beyond the threshold that it is shown by."""
    summary: str


@dataclass(slots=True)
class Tally:
    """All in all, up to the newest slot."""

    fired: int = 0
    firing_us: int = 0
    evaluations: int = 0
    refused: int = 0
    """Times that there was no room for an instance, once for each slot."""
    gaps: int = 0
    """Spans in which nobody looked."""
    judged: int = 0
    """Of the evaluations, those for which there was something to judge by."""


@dataclass(slots=True)
class _Run:
    """One alert from its first slot on."""

    instance: Instance
    labels: Mapping[str, str]
    index: int
    """Of the threshold that it is shown by."""
    worst: float | None
    observed: Sequence[Observation]
    """With the worst value."""


class _Looked(NamedTuple):
    """What was seen of a subject, for as long as it is the same."""

    subject: Subject
    observed: tuple[Observation, ...]
    verdict: Verdict
    absence: Verdict
    until_us: int


Key = tuple[str, AlertKind]
STEP: Final = 50
"""Instances that are judged in one step."""


class Backtest:
    """`slot` in turn, `listen` where a slot is only to be known of; then `close`. `ended` gathers what is over.

    What comes in steps has to be gone through to its end."""

    def __init__(self, rule: Rule, *, offline_after_us: int, slots: int, names: int) -> None:
        self.rule = rule
        self.tally = Tally()
        self.ended: list[WouldBe] = []
        self.names: set[str] = set()
        """Instances that were looked at."""
        self._observer = Observer(rule)
        self._thresholds = rule.thresholds
        self._chart = Chart(self._thresholds, slots, names)
        self._fired: dict[str, None] = {}
        self._runs: dict[Key, _Run] = {}
        self._looked: dict[str, _Looked] = {}
        self._offline_after_us = offline_after_us
        self._last_us: int | None = None
        self._since_us = 0
        self._fleet: object = None
        observed = self._observer.unseen
        self._unseen = _Looked(
            Subject(None), observed, verdict_of(rule, observed), absence_of(rule, observed), 0
        )

    def listen(self, ts_us: int, step_us: int) -> None:
        """The log was read in the slot that ended at `ts_us`, which was `step_us` long."""
        last_us = self._last_us
        if last_us is not None and ts_us <= last_us:
            return
        self._last_us = ts_us
        if last_us is None:
            self._since_us = ts_us
        elif ts_us - last_us > step_us:
            self._since_us = ts_us
            self.tally.gaps += 1
            for run in self._runs.values():
                run.instance = down(run.instance, ts_us - last_us)

    def slot(self, snapshot: MetricsSnapshot, ts_us: int, step_us: int) -> Iterator[None]:
        """Every instance that was to be seen at `ts_us`, some of them in a step."""
        self.listen(ts_us, step_us)
        self._chart.begin_slot(ts_us)
        view = View(snapshot, ts_us, Listening(self._since_us, self._offline_after_us))
        anew = self._observer.of_fleet and snapshot.fleet is not self._fleet
        self._fleet = snapshot.fleet
        seen: set[str] = set()
        subjects = view.subjects(self._observer.dimension)
        for place, (name, subject) in enumerate(subjects.items(), 1):
            looked = None if anew else self._looked.get(name)
            if looked is None or not self._holds(looked, subject, ts_us):
                looked = self._look(name, subject, view)
            if looked is not None:
                seen.add(name)
                self.tally.evaluations += 1
                self.tally.judged += looked.verdict != Verdict.NO_DATA
                self._chart.note(name, looked.observed)
                self._judge(name, looked, ts_us)
            if not place % STEP:
                yield
        for place, name in enumerate({name for name, _ in self._runs} - seen, 1):
            self._judge(name, self._unseen, ts_us)
            if not place % STEP:
                yield

    def close(self, ts_us: int) -> Iterator[None]:
        """The last slot was at `ts_us`: what is not over is told of as it stands, some of it in a step."""
        for place, (key, run) in enumerate(self._runs.items(), 1):
            if run.instance.live:
                self._tell(key, run, None, ts_us)
            if not place % STEP:
                yield
        self._runs.clear()

    def lines(self) -> Iterator[Line]:
        """What was compared, for a chart."""
        yield from self._chart.lines(self._fired)

    def _holds(self, looked: _Looked, subject: Subject, ts_us: int) -> bool:
        return ts_us < looked.until_us and self._observer.same(looked.subject, subject)

    def _look(self, name: str, subject: Subject, view: View) -> _Looked | None:
        observed = self._observer.observe(name, subject, view)
        if observed is None:
            self._looked.pop(name, None)
            return None
        verdict, absence = verdict_of(self.rule, observed), absence_of(self.rule, observed)
        until_us = self._observer.until(subject, view)
        looked = self._looked[name] = _Looked(subject, observed, verdict, absence, until_us)
        self.names.add(name)
        return looked

    def _judge(self, name: str, looked: _Looked, ts_us: int) -> None:
        self._step((name, AlertKind.CONDITION), looked.verdict, looked, ts_us)
        if self.rule.no_data_policy == NoDataPolicy.ALERT:
            self._step((name, AlertKind.NO_DATA), looked.absence, looked, ts_us)

    def _step(self, key: Key, verdict: Verdict, looked: _Looked, ts_us: int) -> None:
        run = self._runs.get(key)
        if run is None and verdict != Verdict.TRUE:
            return
        before = None if run is None else run.instance
        stepped = after(before, verdict, None, ts_us, self.rule)
        if stepped is not None and stepped.live and (before is None or not before.live):
            self._begin(key, stepped, looked)
        elif run is not None:
            if verdict == Verdict.TRUE and run.instance.live:
                self._worsen(run, key[1], looked.observed)
            self._advance(key, run, stepped, ts_us)

    def _begin(self, key: Key, instance: Instance, looked: _Looked) -> None:
        if key not in self._runs and not self._room():
            self.tally.refused += 1
            return
        name, kind = key
        agent = looked.subject.agent
        agent_type = agent.agent_type if agent is not None else ""
        run = _Run(
            instance,
            labels_of(self.rule, name, kind, agent_type=agent_type),
            decisive_place(self.rule.condition, looked.observed),
            None,
            looked.observed,
        )
        self._worsen(run, kind, looked.observed)
        self._runs[key] = run
        self._note_fired(name, instance)

    def _advance(self, key: Key, run: _Run, stepped: Instance | None, ts_us: int) -> None:
        before, name = run.instance, key[0]
        if stepped is before:
            return
        if stepped is None:
            del self._runs[key]
            if before.live:
                self._tell(key, run, ts_us, ts_us)
            return
        run.instance = stepped
        if before.fire_us is None:
            self._note_fired(name, stepped)
        if before.live and not stepped.live:
            self._tell(key, run, stepped.resolve_us, ts_us)

    def _room(self) -> bool:
        """Whether one more instance fits, after forgetting what is over."""
        if len(self._runs) >= self.rule.instance_limit:
            over = [key for key, run in self._runs.items() if not run.instance.live]
            for key in over:
                del self._runs[key]
        return len(self._runs) < self.rule.instance_limit

    def _note_fired(self, name: str, instance: Instance) -> None:
        if instance.fire_us is not None:
            self.tally.fired += 1
            self._fired[name] = None

    def _worsen(self, run: _Run, kind: AlertKind, observed: Sequence[Observation]) -> None:
        if kind != AlertKind.CONDITION:
            return
        # Another comparison's value is on another scale.
        value = observed[run.index].value
        if value is not None and further(self._thresholds[run.index], value, run.worst):
            run.worst, run.observed = value, observed

    def _tell(self, key: Key, run: _Run, resolve_us: int | None, until_us: int) -> None:
        (name, kind), instance = key, run.instance
        if instance.fire_us is not None:
            self.tally.firing_us += (resolve_us or until_us) - instance.fire_us
        self.ended.append(
            WouldBe(
                name,
                kind,
                run.labels,
                instance.active_us,
                instance.fire_us,
                resolve_us,
                run.worst,
                summary_of(self.rule, name, run.observed, kind),
            )
        )
