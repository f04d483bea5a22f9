"""A backtest of stored history says what the live engine did: the same alerts, begun, fired and resolved in the same
slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.sql.backtest_store import SqlBacktestStore
from pilothouse_server.adapters.sql.metrics_store import SqlMetricsStore
from pilothouse_server.domain.alerts.backtest import WouldBe
from pilothouse_server.domain.alerts.documents import rule_from_document
from pilothouse_server.domain.alerts.rules import Rule
from pilothouse_server.domain.metrics.limits import BUCKET_US
from pilothouse_server.domain.metrics.snapshot import MINUTE_US
from pilothouse_server.services.alerts.backtest import Backtests, Source, Summary, Update
from tests.backtest import history
from tests.backtest.conftest import Lives
from tests.backtest.life import BEGIN, Life, of_backtest

# An hour of a fleet is lived and judged 14 times over: nothing is waited for, but a busy machine takes its time.
pytestmark = pytest.mark.timeout(240)

MINUTES = 75
TYPE: dict[str, object] = {"dimension": "workflow_type"}
ERRORS: dict[str, object] = {
    "metric": "error_rate",
    "window": "5m",
    "comparison": ">",
    "threshold": 0.2,
}
SLOW: dict[str, object] = {
    "metric": "latency_p95",
    "window": "1m",
    "comparison": ">",
    "threshold": 1.5,
}
DEEP: dict[str, object] = {"metric": "queue_depth", "comparison": ">", "threshold": 4}
IDLE: dict[str, object] = {
    "metric": "throughput",
    "window": "1m",
    "comparison": "<",
    "threshold": 0.05,
}
SILENT: dict[str, object] = {"metric": "agent_silence", "comparison": ">=", "threshold": 120.0}


def ruled(name: str, condition: dict[str, object], **fields: object) -> Rule:
    return rule_from_document({"id": name, "name": name, "condition": condition, **fields})


RULES = (
    ruled("errors", ERRORS),
    ruled("errors-held", {**ERRORS, "min_samples": 5}, **{"for": "1m"}, keep_firing_for="2m"),
    ruled("errors-by-type", {**ERRORS, **TYPE, "recovery_threshold": 0.05}, **{"for": "30s"}),
    ruled(
        "errors-of-some",
        {**ERRORS, **TYPE, "matchers": ['workflow_type=~"build|deploy"'], "window": "1m"},
        no_data="resolve",
    ),
    ruled("success-in-an-hour", {
        "metric": "success_rate", "window": "1h", "comparison": "<", "threshold": 0.8, "min_samples": 20,
    }),
    ruled("slow", SLOW, **{"for": "10s"}),
    ruled("slow-stages", {**SLOW, "metric": "latency_p50", "dimension": "stage"}, no_data="alert"),
    ruled("slow-p99", {**SLOW, "metric": "latency_p99", "window": "15m", **TYPE}),
    ruled("idle", IDLE, keep_firing_for="25s"),
    ruled("idle-types", {**IDLE, **TYPE, "window": "5m"}),
    ruled("deep", DEEP, **{"for": "1m"}),
    ruled("deep-types", {**DEEP, **TYPE, "threshold": 2, "recovery_threshold": 0}),
    ruled("both", {"all": [{**SLOW, **TYPE}, {**ERRORS, "window": "15m", "threshold": 0.1}]}),
    ruled("either", {"any": [{**DEEP, **TYPE}, {"all": [{**ERRORS, **TYPE}, {**SLOW, **TYPE}]}]}),
)  # fmt: skip


async def backtested(
    life: Life, rule: Rule, begin_us: int, end_us: int
) -> tuple[list[Update], Summary]:
    """All that a backtest of the rule says."""
    store = SqlBacktestStore(life.tower.database)
    backtests = Backtests(store, SystemClock())
    updates = [each async for each in backtests.run(rule, begin_us, end_us)]
    summary = updates[-1]
    assert isinstance(summary, Summary)
    return updates, summary


async def assert_same(
    life: Life, rules: Sequence[Rule], end_us: int, steps: Sequence[int]
) -> Counter[str]:
    """Each rule's backtest from the beginning on; returns how often each fired."""
    lived = await life.alerts([rule.id for rule in rules])
    fired: Counter[str] = Counter()
    for rule in rules:
        updates, summary = await backtested(life, rule, BEGIN, end_us)
        alerts = [each for each in updates if isinstance(each, WouldBe)]
        expected = [each for each in lived if each.rule_id == rule.id]
        assert of_backtest(rule, alerts) == expected, rule.id
        assert [each.step_us for each in updates if isinstance(each, Source)] == list(steps)
        assert summary.fired == len(expected)
        fired[rule.id] = summary.fired
    return fired


async def forget_buckets(life: Life, before: int) -> None:
    """As they are after two hours."""
    store = SqlMetricsStore(life.tower.database)
    while await store.prune(before, 0):
        pass


@pytest.mark.parametrize("seed", range(2))
async def test_over_buckets(lives: Lives, seed: int) -> None:
    life = lives(RULES)
    await life.begin()
    end = life.bucket + MINUTES * 12
    # The newest bucket may still be running, so one more follows what is judged.
    await life.live(history.fleet(seed, MINUTES), end + 1, lambda bucket: bucket < end)
    fired = await assert_same(life, RULES, end * BUCKET_US, [BUCKET_US])
    assert sum(fired.values()) > 50
    assert min(fired.values()) > 0 or seed


async def test_over_minutes(lives: Lives) -> None:
    life = lives(RULES)
    await life.begin()
    end = life.bucket + MINUTES * 12
    events = history.fleet(7, MINUTES)
    # Minutes are there once their buckets are closed; the engine judges at the end of each.
    await life.live(events, end + 120, lambda bucket: bucket < end and bucket % 12 == 11)
    await forget_buckets(life, end + 90)
    fired = await assert_same(life, RULES, end * BUCKET_US, [MINUTE_US])
    assert sum(fired.values()) > 20


async def test_over_minutes_and_then_over_buckets(lives: Lives) -> None:
    rules = [rule for rule in RULES if all(e.window_us == 5 * MINUTE_US for e in rule.thresholds)]
    life = lives(rules)
    await life.begin()
    end, first = life.bucket + MINUTES * 12, life.bucket + 40 * 12
    border = first + 60
    await life.live(
        history.fleet(8, MINUTES),
        end + 1,
        lambda bucket: bucket < end and (bucket >= border or bucket % 12 == 11),
    )
    await forget_buckets(life, first)
    fired = await assert_same(life, rules, end * BUCKET_US, [MINUTE_US, BUCKET_US])
    assert sum(fired.values()) > 10


@pytest.mark.parametrize("seed", [11])
async def test_time_in_which_the_server_was_down_counts_towards_no_hold(
    lives: Lives, seed: int
) -> None:
    rules = [replace(rule, for_us=rule.for_us or 45_000_000) for rule in RULES]
    life = lives(rules)
    await life.begin()
    end = life.bucket + MINUTES * 12
    events = history.fleet(seed, MINUTES)
    for stop, down in ((100, 4), (250, 36), (500, 12), (640, 1)):
        until = BEGIN // BUCKET_US + stop
        heard = history.without(events, until * BUCKET_US, (until + down) * BUCKET_US)
        from_us = life.bucket * BUCKET_US
        await life.live([each for each in heard if each.receive_us >= from_us], until)
        await life.die(down)
        events = heard
    from_us = life.bucket * BUCKET_US
    left = [each for each in events if each.receive_us >= from_us]
    await life.live(left, end + 1, lambda bucket: bucket < end)
    fired = await assert_same(life, rules, end * BUCKET_US, [BUCKET_US])
    assert sum(fired.values()) > 20


async def test_the_silence_of_agents_is_judged_by_their_stored_events(lives: Lives) -> None:
    rules = [
        ruled("silent", SILENT),
        ruled("silent-held", {**SILENT, "matchers": ['agent_id=~"a[12]"']}, **{"for": "1m"}),
        ruled("silent-while-idle", {"all": [SILENT, {**IDLE, "threshold": 0.5}]}),
    ]
    life = lives(rules)
    await life.begin()
    end = life.bucket + 40 * 12
    events = history.fleet(21, 40)
    await life.live(events, end + 1, lambda bucket: bucket < end, project=True)
    fired = await assert_same(life, rules, end * BUCKET_US, [BUCKET_US])
    assert min(fired.values()) > 0
