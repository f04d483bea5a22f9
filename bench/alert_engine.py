"""How long a tick of the alert engine takes, by the instances that its rules have.

    python -m bench.alert_engine [--sizes 10000 100000] [--ticks 30] [--json]

Rules about stages, 200 stages each, as many rules as the size needs; a size of 10,000 is 50 rules. A tick is
`AlertEngine.tick`, without the database: what the aggregator waits for. Measured, in processor time of one core, over
so many ticks, 100 ms of event time apart:

- steady: the aggregator made every series again in one stage of a hundred, as when little goes on;
- all changed, quiet: every series is another, and no condition holds;
- all changed, firing: the same with every condition true, so every alert's value is another;
- begin: the tick in which the alerts begin (a rule begins at most 1,000 at once).

Bounds are lifted for the measurement: `rule_ns` and `slot_ns` would cut a tick off; beside it, with them in place, the
longest tick of the largest size.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from bench.report import percentile, provenance
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.domain.alerts.conditions import AlertMetric, Comparison, Threshold
from pilothouse_server.domain.alerts.records import Alert, AlertStep
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.metrics.snapshot import (
    MINUTE_US,
    WINDOWS_US,
    AgentCounts,
    Dimension,
    Health,
    HealthState,
    LatencySummary,
    MetricsSnapshot,
    ReaderCounters,
    SeriesMetrics,
    StateCounts,
    Totals,
    WindowMetrics,
)
from pilothouse_server.services.alerts.engine import AlertEngine
from pilothouse_server.services.alerts.journal import AlertBatch, AlertJournal, Restored
from pilothouse_server.services.alerts.limits import AlertLimits
from pilothouse_server.services.fanout import Changes

STAGES = 200
TICK_US = 100_000
START_US = 1_700_000_000_000_000
UNBOUND = AlertLimits(rule_ns=1 << 62, slot_ns=1 << 62)


class Forgetful:
    """A store that keeps nothing: the database is not what is measured."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules

    async def restore(self, shipped: Sequence[Rule]) -> Restored:
        del shipped
        return Restored(self._rules, [], None)

    async def save(self, batch: AlertBatch) -> None:
        del batch

    async def find(self, alert_id: str) -> Alert | None:
        del alert_id
        return None

    async def requested(self, request_id: str) -> AlertStep | None:
        del request_id
        return None


def rules_of(instances: int) -> list[Rule]:
    """Error rates, latencies and queue depths of stages, in turn."""
    metrics = (AlertMetric.ERROR_RATE, AlertMetric.LATENCY_P95, AlertMetric.QUEUE_DEPTH)
    return [
        Rule(
            id=f"rule-{number}",
            name=f"Rule {number}",
            condition=Threshold(
                metric=metrics[number % 3],
                comparison=Comparison.GREATER_THAN,
                threshold=0.25,
                dimension=Dimension.STAGE,
                window_us=(5 * MINUTE_US) * (number % 3 != 2),
                min_samples=20 * (number % 3 != 2),
            ),
            keep_firing_us=MINUTE_US,
        )
        for number in range(instances // STAGES)
    ]


def series(name: str, bad: float, salt: int) -> SeriesMetrics:
    """One stage; `bad` of everything is."""
    failed = int(1000 * bad) + salt % 7
    latency = LatencySummary(1000, bad * 1e6, bad * 2e6 + salt % 7, bad * 3e6, bad * 1e6)
    windows = tuple(
        WindowMetrics(window_us, 1000, 1000 - failed, failed, 0, 3.0, latency)
        for window_us in WINDOWS_US
    )
    waiting = int(bad * 100) + salt % 7 if bad else 0
    dimension = Dimension.STAGE if name else Dimension.FLEET
    return SeriesMetrics(dimension, name, StateCounts(waiting, 1, 0, 0, waiting), windows)


def snapshot(every: Sequence[SeriesMetrics]) -> MetricsSnapshot:
    """What the aggregator hands on."""
    return MetricsSnapshot(
        sequence=1,
        epoch="bench",
        as_of_us=START_US,
        cursor="",
        reader_lag_us=0,
        health=Health(HealthState.HEALTHY, (), None),
        series=(series("", 0.0, 0), *every),
        totals=Totals(0, 0, 0, 0, 0),
        agents=AgentCounts(0, 0, 0, 0, 0),
        reader=ReaderCounters(),
        tick_interval_us=TICK_US,
        start_us=0,
        events_per_second=None,
        by_key={(one.dimension, one.name): one for one in every},
    )


def changing(bad: float, *, share: int = 1) -> Iterator[MetricsSnapshot]:
    """Snapshots one after another, in each of which one series of `share` is another."""
    names = [f"stage-{number:03}" for number in range(STAGES)]
    every = [series(name, bad, 0) for name in names]
    for salt in count():
        for number in range(salt % share, STAGES, share):
            every[number] = series(names[number], bad, salt)
        yield snapshot(every)


class Bench:
    """One engine with rules for so many instances."""

    def __init__(self, instances: int, limits: AlertLimits) -> None:
        store, clock = Forgetful(rules_of(instances)), SystemClock()
        self.journal = AlertJournal(store, clock, Changes(), Changes())
        ids = count()
        self.engine = AlertEngine(
            store,
            self.journal,
            clock,
            lambda: f"{next(ids):032}",
            limits=limits,
        )
        self.ts_us = START_US

    async def run(self, snapshots: Iterator[MetricsSnapshot], ticks: int) -> list[float]:
        """Milliseconds of each tick."""
        taken: list[float] = []
        gc.collect()
        for _ in range(ticks):
            shown = next(snapshots)
            self.ts_us += TICK_US
            began = time.process_time()
            self.engine.tick(shown, self.ts_us)
            taken.append((time.process_time() - began) * 1000)
            await self.journal.flush()
        return taken


async def measure(instances: int, ticks: int) -> dict[str, Any]:
    """All figures of one size."""
    bench = Bench(instances, UNBOUND)
    await bench.engine.start()
    quiet = await bench.run(changing(0.0), ticks)
    steady = await bench.run(changing(0.0, share=100), ticks + 1)
    begun: list[float] = []
    firing = changing(0.5)
    while bench.engine.firing.warning < instances:
        begun += await bench.run(firing, 1)
    storm = await bench.run(firing, ticks)
    still = await bench.run(changing(0.5, share=100), ticks + 1)
    bounded = Bench(instances, AlertLimits())
    await bounded.engine.start()
    cut = await bounded.run(changing(0.5), ticks)
    return {
        "instances": instances,
        "rules": instances // STAGES,
        "steady": _figures(steady[1:]),
        "steady_firing": _figures(still[1:]),
        "quiet": _figures(quiet),
        "firing": _figures(storm),
        "begin_ms": round(max(begun), 1),
        "bounded_ms": round(max(cut), 1),
    }


def _figures(taken: list[float]) -> dict[str, float]:
    return {"p50_ms": round(percentile(taken, 0.5), 2), "max_ms": round(max(taken), 2)}


def table(result: dict[str, Any]) -> str:
    """For people."""
    columns = ("steady", "steady, firing", "all changed", "all, firing")
    header = "".join(f" {column:>16}" for column in columns)
    lines = [
        provenance("no database"),
        f"alert engine: one tick on one core of {result['cores']}, Python {result['python']}; ms, p50 (max)",
        f"{'instances':>10} {'rules':>6}{header} {'all begin':>10} {'bounded max':>12}",
    ]
    for row in result["sizes"]:
        figures = [
            f"{row[name]['p50_ms']} ({row[name]['max_ms']})"
            for name in ("steady", "steady_firing", "quiet", "firing")
        ]
        each = "".join(f" {figure:>16}" for figure in figures)
        lines.append(
            f"{row['instances']:>10,} {row['rules']:>6}{each} {row['begin_ms']:>10} {row['bounded_ms']:>12}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else ""
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--ticks", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = {
        "bench": "alert_engine",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sizes": [asyncio.run(measure(size, args.ticks)) for size in args.sizes],
    }
    print(json.dumps(result) if args.json else table(result))


if __name__ == "__main__":
    main()
