"""From an event to the alert, and to the webhook: beside Prometheus and Alertmanager on the same machine.

    python -m bench.alert_latency [--probes 150] [--rate 1000] [--redis] [--postgres]

A probe is a workflow of a type of its own that starts and fails, in one call, while others publish `--rate` events a
second. A rule without `for` about the error rate of each type makes an alert of it. Measured from the acknowledgement
of the event, which says that it is durable: until a client of `WatchAlerts` has the alert, which is stored before
anybody is shown it, and until a webhook has it.

Prometheus (1 s scrape, 1 s evaluation) sees the same probes as gauges of an exporter, from the moment at which they are
set: until its API shows the alert, asked every 20 ms, and until the same webhook has it from Alertmanager (`group_wait:
0s`). Its pull is what makes the difference: half a second of scrape and half a second of evaluation are its design.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from bench.alert_peers import (
    Hook,
    Prometheus,
    answering,
    running_alertmanager,
    running_prometheus,
    versions,
)
from bench.load import Load
from bench.process import Server, running_server
from bench.report import milliseconds, percentile, provenance, table
from bench.storage import Storage, add_storage, running_storage
from pilothouse import aio
from pilothouse.errors import NoSnapshot
from pilothouse.v1 import alerts_pb2, channels_pb2, enums_pb2, events_pb2, metrics_pb2, rules_pb2
from tests.support import wait_until

MOST_PROBES = 190
"""A server shows 200 types of workflows; what publishes beside has four."""
PAUSE = 0.25
"""Seconds between two probes, on average."""
LABEL = "workflow_type"
POLL = 0.02


@dataclass(slots=True)
class Delays:
    """When each probe began, and when its alert was seen; monotonic seconds by name."""

    began: dict[str, float] = field(default_factory=dict[str, float])
    shown: dict[str, float] = field(default_factory=dict[str, float])
    told: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def complete(self) -> bool:
        """Whether every probe was seen everywhere."""
        return self.began.keys() <= self.shown.keys() and self.began.keys() <= self.told.keys()

    def of(self, seen: Mapping[str, float]) -> list[float]:
        """From the beginning to being seen."""
        return [max(0.0, seen[name] - began) for name, began in self.began.items()]


async def prepare(client: aio.Client, hook: int) -> None:
    """The rule and the channel."""
    threshold = rules_pb2.Threshold(
        metric=rules_pb2.ALERT_METRIC_ERROR_RATE,
        dimension=metrics_pb2.METRIC_DIMENSION_WORKFLOW_TYPE,
        comparison=rules_pb2.COMPARISON_GREATER_THAN,
        threshold=0.5,
    )
    threshold.window.seconds = 60
    rule = rules_pb2.AlertRule(
        name="Failing",
        condition=rules_pb2.Condition(threshold=threshold),
        severity=enums_pb2.SEVERITY_CRITICAL,
    )
    await client.rules.CreateRule(rules_pb2.CreateRuleRequest(rule=rule))
    channel = channels_pb2.Channel(
        name="Bench",
        is_default=True,
        webhook=channels_pb2.WebhookChannel(url=f"http://127.0.0.1:{hook}/"),
        group_by=[LABEL],
        rate_limit_per_minute=6000,
    )
    await client.channels.CreateChannel(channels_pb2.CreateChannelRequest(channel=channel))


async def watch(client: aio.Client, delays: Delays) -> None:
    """Notes when each alert is streamed as firing."""
    async for answer in client.alerts.WatchAlerts(alerts_pb2.WatchAlertsRequest()):
        alert = answer.alert
        if alert.state == alerts_pb2.ALERT_STATE_FIRING:
            delays.shown.setdefault(alert.labels.get(LABEL, ""), time.monotonic())


async def probe(client: aio.Client, name: str) -> None:
    """A workflow that starts and fails."""
    now = time.time_ns()
    events: list[events_pb2.Event] = []
    for place, kind in enumerate(
        (events_pb2.EVENT_TYPE_WORKFLOW_STARTED, events_pb2.EVENT_TYPE_WORKFLOW_FAILED)
    ):
        event = events_pb2.Event(
            id=f"{name}-{place}-{now}",
            type=kind,
            source="bench",
            workflow_id=f"{name}-{now}",
            workflow_type=name,
            attempt=1,
        )
        event.occur_time.FromNanoseconds(now + place)
        events.append(event)
    answer = await client.events.PublishEvents(events_pb2.PublishEventsRequest(events=events))
    if answer.rejected:
        raise RuntimeError(answer.rejected[0].reason)


async def paced() -> None:
    """Between two probes: at no multiple of anything."""
    await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))


async def ours(storage: Storage, probes: int, rate: int) -> tuple[Delays, float]:
    """Through our server; and the share of a core that it took."""
    hook = Hook(LABEL)
    delays = Delays(told=hook.firing)
    async with (
        answering(hook.take) as port,
        running_server(storage, PILOTHOUSE_WEBHOOK_HOSTS="127.0.0.1") as server,
        aio.Client(server.grpc) as client,
    ):
        await prepare(client, port)
        watching = asyncio.create_task(watch(client, delays))
        load = asyncio.create_task(Load(server.grpc, rate, (probes + 8) * PAUSE + 10).run())
        cpu = await _probed(server, client, delays, probes)
        watching.cancel()
        load.cancel()
        await asyncio.gather(watching, load, return_exceptions=True)
    return delays, cpu


async def _probed(server: Server, client: aio.Client, delays: Delays, probes: int) -> float:
    await wait_until(lambda: _served(client), within=30, what="a snapshot")
    before, begun = server.cpu_seconds(), time.monotonic()
    for number in range(probes):
        name = f"probe-{number}"
        await probe(client, name)
        delays.began[name] = time.monotonic()
        await paced()
    await wait_until(lambda: delays.complete, within=30, what="every alert and its webhook")
    return (server.cpu_seconds() - before) / (time.monotonic() - begun)


async def _served(client: aio.Client) -> bool:
    try:
        answer = await client.metrics.GetMetrics(metrics_pb2.GetMetricsRequest())
    except NoSnapshot:
        return False
    return answer.snapshot.totals.events > 0


async def theirs(probes: int) -> Delays:
    """Through Prometheus and Alertmanager."""
    hook = Hook("probe")
    delays = Delays(told=hook.firing)
    lines: list[str] = ["# TYPE failing gauge"]
    rule = {"alert": "Failing", "expr": "failing > 0.5"}

    def exported(_: bytes) -> bytes:
        return ("\n".join(lines) + "\n").encode()

    async with (
        answering(hook.take) as hook_port,
        answering(exported) as exporter,
        running_alertmanager(hook_port, ["probe"]) as address,
        running_prometheus(exporter, [rule], address) as prometheus,
    ):
        watching = asyncio.create_task(poll(prometheus, delays))
        for number in range(probes):
            name = f"probe-{number}"
            lines.append(f'failing{{probe="{name}"}} 1')
            delays.began[name] = time.monotonic()
            await paced()
        await wait_until(lambda: delays.complete, within=60, what="every alert and its webhook")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return delays


async def poll(prometheus: Prometheus, delays: Delays) -> None:
    """Notes when each alert is shown as firing."""
    async with httpx.AsyncClient(trust_env=False) as http:
        while True:
            for labels in await prometheus.alerts(http):
                delays.shown.setdefault(labels["probe"], time.monotonic())
            await asyncio.sleep(POLL)


def rows(mine: Delays, other: Delays) -> list[list[str]]:
    """What is shown, ours, theirs, and the ratio."""
    found: list[list[str]] = []
    for what, goal, one, two in (
        ("alert stored and streamed", 0.25, mine.of(mine.shown), other.of(other.shown)),
        ("webhook received", 0.5, mine.of(mine.told), other.of(other.told)),
    ):
        for share in (0.5, 0.99):
            ours_, theirs_ = percentile(one, share), percentile(two, share)
            aim = f"{milliseconds(goal)}" if share > 0.5 else ""
            found.append([
                f"{what}, p{share * 100:.0f}", milliseconds(ours_), aim, milliseconds(theirs_),
                f"{theirs_ / ours_:.1f}×",
            ])  # fmt: skip
    return found


async def run(storage: Storage, probes: int, rate: int) -> str:
    """The table."""
    mine, cpu = await ours(storage, probes, rate)
    other = await theirs(probes)
    header = ["event accepted →", "Pilothouse", "goal", "Prometheus + Alertmanager", "ratio"]
    title = f"{probes} alerts, {rate:,} events/s beside ({', '.join(storage.names)})"
    told = table(title, header, rows(mine, other))
    return f"{told}\nServer CPU: {cpu * 100:.0f} % of a core.\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--probes", type=int, default=150)
    parser.add_argument("--rate", type=int, default=1000)
    add_storage(parser)
    given = parser.parse_args()
    if not 0 < given.probes <= MOST_PROBES:
        parser.error(f"--probes is from 1 to {MOST_PROBES}")
    with running_storage(with_redis=given.redis, with_postgres=given.postgres) as storage:
        print(provenance(*storage.names, *versions()), flush=True)
        print(asyncio.run(run(storage, given.probes, given.rate)))


if __name__ == "__main__":
    main()
