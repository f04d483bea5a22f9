"""Ten thousand alerts at once: how long until all of them are stored, and until a webhook was told of each.

    python -m bench.alert_storm [--rules 10] [--agents 1000] [--redis] [--postgres]

A task of every agent fails in the same moment, and every rule is about the error rate of each agent, without `for`: so
many alerts begin with the next slots. Stored is what a client of `WatchAlerts` was sent as firing; told is what a
webhook got, in notifications of up to 1,000 alerts of one rule. Both from the last acknowledgement of those events. The
whole is done twice: once with a second webhook that takes every request and never answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field

from bench.alert_eval import create
from bench.alert_peers import answering
from bench.process import Server, running_server
from bench.report import provenance, seconds_of, table
from bench.storage import Storage, add_storage, running_storage
from pilothouse import aio
from pilothouse.errors import NoSnapshot
from pilothouse.v1 import (
    alerts_pb2,
    channels_pb2,
    deliveries_pb2,
    events_pb2,
    metrics_pb2,
    rules_pb2,
)
from tests.support import wait_until

PATIENCE = 180.0
"""Seconds until all must be told."""
AT_ONCE = 500
"""Agents in one call."""

Key = tuple[str, str]
"""Rule and agent."""


@dataclass(slots=True)
class Storm:
    """What was seen of it, and when; monotonic seconds."""

    stored: dict[Key, float] = field(default_factory=dict[Key, float])
    told: dict[Key, float] = field(default_factory=dict[Key, float])
    requests: int = 0

    def take(self, body: bytes) -> bytes:
        """A request of the webhook."""
        now = time.monotonic()
        self.requests += 1
        for alert in json.loads(body)["alerts"]:
            labels = alert["labels"]
            if alert["status"] == "firing":
                self.told.setdefault((labels["rule_id"], labels.get("agent_id", "")), now)
        return b""


async def watch(client: aio.Client, storm: Storm) -> None:
    """Notes each alert that is streamed as firing."""
    async for answer in client.alerts.WatchAlerts(alerts_pb2.WatchAlertsRequest()):
        alert = answer.alert
        if alert.state == alerts_pb2.ALERT_STATE_FIRING:
            key = (alert.rule_id, alert.labels["agent_id"])
            storm.stored.setdefault(key, time.monotonic())


def failures(agents: range) -> list[events_pb2.Event]:
    """A task of each agent fails."""
    now = time.time_ns()
    events: list[events_pb2.Event] = []
    for agent in agents:
        for kind in (events_pb2.EVENT_TYPE_TASK_STARTED, events_pb2.EVENT_TYPE_TASK_FAILED):
            event = events_pb2.Event(
                id=f"storm-{agent}-{kind}-{now}",
                type=kind,
                source="bench",
                workflow_id=f"storm-{agents.start}",
                workflow_type="storm",
                task_id=f"t{agent}",
                agent_id=f"agent-{agent}",
                agent_type="worker",
                attempt=1,
            )
            event.occur_time.FromNanoseconds(now)
            events.append(event)
    return events


async def add_channel(client: aio.Client, name: str, port: int) -> None:
    """A webhook that is told of everything, the alerts of each rule together."""
    channel = channels_pb2.Channel(
        name=name,
        is_default=True,
        webhook=channels_pb2.WebhookChannel(url=f"http://127.0.0.1:{port}/", max_alerts=1000),
        group_by=["rule_id"],
        rate_limit_per_minute=6000,
    )
    channel.group_interval.seconds = 1
    await client.channels.CreateChannel(channels_pb2.CreateChannelRequest(channel=channel))


async def ready(client: aio.Client) -> None:
    """Returns when the server shows numbers; the rules that ship are off from then on."""

    async def shown() -> bool:
        try:
            await client.metrics.GetMetrics(metrics_pb2.GetMetricsRequest())
        except NoSnapshot:
            return False
        return True

    await wait_until(shown, within=30, what="a snapshot")
    for rule in (await client.rules.ListRules(rules_pb2.ListRulesRequest())).rules:
        await client.rules.DisableRule(rules_pb2.DisableRuleRequest(rule_id=rule.id))


async def publish(client: aio.Client, agents: int) -> float:
    """All of it; returns when the last was accepted."""
    calls: list[events_pb2.PublishEventsRequest] = []
    for first in range(0, agents, AT_ONCE):
        events = failures(range(first, min(first + AT_ONCE, agents)))
        calls.append(events_pb2.PublishEventsRequest(events=events))
    answers = await asyncio.gather(*(client.events.PublishEvents(call) for call in calls))
    for answer in answers:
        if answer.rejected:
            raise RuntimeError(answer.rejected[0].reason)
    return time.monotonic()


async def storm_of(storage: Storage, rules: int, agents: int, *, hanging: bool) -> list[str]:
    """A row of the table."""
    storm, size = Storm(), rules * agents
    async with (
        answering(storm.take) as hook,
        answering(storm.take, hangs=True) as deaf,
        running_server(storage, PILOTHOUSE_WEBHOOK_HOSTS="127.0.0.1") as server,
        aio.Client(server.grpc) as client,
    ):
        await ready(client)
        await create(client, rules)
        await add_channel(client, "Told", hook)
        if hanging:
            await add_channel(client, "Hangs", deaf)
        watching = asyncio.create_task(watch(client, storm))
        cpu = server.cpu_seconds()
        accepted = await publish(client, agents)
        await wait_until(lambda: len(storm.stored) >= size, within=PATIENCE, what="every alert")
        await wait_until(lambda: len(storm.told) >= size, within=PATIENCE, what="every webhook")
        row = _row(storm, accepted, server, cpu)
        row.insert(0, "a second one hangs" if hanging else "one webhook")
        row.append(await _hanging(client) if hanging else "–")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return row


def _row(storm: Storm, accepted: float, server: Server, cpu: float) -> list[str]:
    stored, told = list(storm.stored.values()), list(storm.told.values())
    return [
        f"{len(stored):,}",
        seconds_of(min(stored) - accepted),
        seconds_of(max(stored) - accepted),
        seconds_of(min(told) - accepted),
        seconds_of(max(told) - accepted),
        f"{storm.requests:,}",
        seconds_of(server.cpu_seconds() - cpu),
    ]


async def _hanging(client: aio.Client) -> str:
    """What waits for the one that hangs: nothing of it is lost."""
    request = deliveries_pb2.ListDeliveriesRequest(page_size=100)
    answer = await client.deliveries.ListDeliveries(request)
    waiting = [each for each in answer.deliveries if each.channel_id == "hangs"]
    return f"{len(waiting):,}"


async def run(storage: Storage, rules: int, agents: int) -> str:
    """The table."""
    rows = [await storm_of(storage, rules, agents, hanging=each) for each in (False, True)]
    header = [
        "", "alerts", "first stored", "all stored", "first told", "all told", "requests", "server CPU",
        "waiting for the one that hangs",
    ]  # fmt: skip
    title = f"{rules * agents:,} alerts at once ({', '.join(storage.names)})"
    return table(title, header, rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rules", type=int, default=10)
    parser.add_argument("--agents", type=int, default=1000)
    add_storage(parser)
    given = parser.parse_args()
    if not 0 < given.agents <= 1000:
        parser.error("--agents is from 1 to 1000")
    with running_storage(with_redis=given.redis, with_postgres=given.postgres) as storage:
        print(provenance(*storage.names), flush=True)
        print(asyncio.run(run(storage, given.rules, given.agents)))


if __name__ == "__main__":
    main()
