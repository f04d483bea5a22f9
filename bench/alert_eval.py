"""Processor time for each evaluation of a rule's instance, in the whole server: beside Prometheus with the same rules.

    python -m bench.alert_eval [--rules 10] [--agents 1000] [--seconds 20] [--postgres]

Every agent finishes a task each second, so every series is another one each second. The rules are about the error rate
of each agent, with thresholds that nobody reaches: 10 rules on 1,000 agents are 10,000 instances. The server runs for a
while without them and for a while with them; the difference in processor time, by the instances evaluated meanwhile (10
slots a second, against Prometheus' one), is the price of one. The same with a Prometheus that scrapes as many gauges
each second, new values each time.

Neither looks at every instance anew each time: ours looks again where the series changed, and counts the slot for all.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from typing import NamedTuple

import psutil

from bench.alert_peers import answering, running_prometheus, versions
from bench.process import Server, running_server
from bench.report import provenance, table
from bench.storage import Storage, add_storage, cpu_seconds, running_storage
from pilothouse import aio
from pilothouse.errors import NoSnapshot
from pilothouse.v1 import events_pb2, metrics_pb2, rules_pb2
from tests.support import wait_until

SLOT = 0.1
"""Seconds between two batches: a tenth of the agents is in each."""
SETTLING = 3.0
"""Seconds after a change that are not measured."""


class Phase(NamedTuple):
    """What a while took."""

    seconds: float
    cpu: float
    evaluations: int
    """Of instances."""


def batch(number: int, agents: range) -> list[events_pb2.Event]:
    """A task of each of these agents, from its start to its end, in a workflow of its own."""
    now, workflow = time.time_ns(), f"eval-{number}"
    kinds = [(events_pb2.EVENT_TYPE_WORKFLOW_STARTED, "", "")]
    for agent in agents:
        for kind in (events_pb2.EVENT_TYPE_TASK_STARTED, events_pb2.EVENT_TYPE_TASK_COMPLETED):
            kinds.append((kind, f"t{agent}", f"agent-{agent}"))
    kinds.append((events_pb2.EVENT_TYPE_WORKFLOW_COMPLETED, "", ""))
    events: list[events_pb2.Event] = []
    for place, (kind, task, agent_id) in enumerate(kinds):
        event = events_pb2.Event(
            id=f"{workflow}-{place}",
            type=kind,
            source="bench",
            workflow_id=workflow,
            workflow_type="eval",
            task_id=task,
            agent_id=agent_id,
            agent_type="worker" if agent_id else "",
            attempt=1,
        )
        event.occur_time.FromNanoseconds(now + place * 1000)
        events.append(event)
    return events


async def load(client: aio.Client, agents: int) -> None:
    """Until cancelled."""
    share, begun = agents // 10, time.monotonic()
    number = 0
    while True:
        first = number % 10 * share
        request = events_pb2.PublishEventsRequest(events=batch(number, range(first, first + share)))
        await client.events.PublishEvents(request)
        number += 1
        await asyncio.sleep(max(0.0, begun + number * SLOT - time.monotonic()))


async def evaluated(client: aio.Client, agents: int) -> int:
    """Instances evaluated since the beginning, of our rules."""
    answer = await client.rules.ListRules(rules_pb2.ListRulesRequest())
    ours = [rule for rule in answer.rules if rule.name.startswith("Bench")]
    return sum(rule.meters.evaluations for rule in ours) * agents


async def create(client: aio.Client, rules: int) -> None:
    """The rules."""
    for number in range(rules):
        threshold = rules_pb2.Threshold(
            metric=rules_pb2.ALERT_METRIC_ERROR_RATE,
            dimension=metrics_pb2.METRIC_DIMENSION_AGENT,
            comparison=rules_pb2.COMPARISON_GREATER_THAN,
            threshold=0.5 + number / 100,
        )
        threshold.window.seconds = 60
        rule = rules_pb2.AlertRule(
            name=f"Bench {number}", condition=rules_pb2.Condition(threshold=threshold)
        )
        await client.rules.CreateRule(rules_pb2.CreateRuleRequest(rule=rule))


async def measured(client: aio.Client, server: Server, agents: int, seconds: float) -> Phase:
    """One while of our server."""
    await asyncio.sleep(SETTLING)
    before, begun, cpu = await evaluated(client, agents), time.monotonic(), server.cpu_seconds()
    await asyncio.sleep(seconds)
    used, passed = server.cpu_seconds() - cpu, time.monotonic() - begun
    return Phase(passed, used, await evaluated(client, agents) - before)


async def ours(storage: Storage, rules: int, agents: int, seconds: float) -> tuple[Phase, Phase]:
    """Our server without the rules, and with them."""
    async with running_server(storage) as server, aio.Client(server.grpc) as client:
        loading = asyncio.create_task(load(client, agents))
        try:

            async def shown() -> bool:
                try:
                    answer = await client.metrics.GetMetrics(metrics_pb2.GetMetricsRequest())
                except NoSnapshot:
                    return False
                of = metrics_pb2.METRIC_DIMENSION_AGENT
                return sum(each.dimension == of for each in answer.snapshot.series) >= agents

            await wait_until(shown, within=30, what="every agent in the snapshot")
            for rule in (await client.rules.ListRules(rules_pb2.ListRulesRequest())).rules:
                await client.rules.DisableRule(rules_pb2.DisableRuleRequest(rule_id=rule.id))
            without = await measured(client, server, agents, seconds)
            await create(client, rules)
            return without, await measured(client, server, agents, seconds)
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)


async def theirs(rules: int, agents: int, seconds: float) -> tuple[Phase, Phase]:
    """Prometheus without the rules, and with them."""
    chance = random.Random(1)

    def exported(_: bytes) -> bytes:
        lines = [f'error_rate{{agent="{n}"}} {chance.random() / 4:.4f}' for n in range(agents)]
        return ("# TYPE error_rate gauge\n" + "\n".join(lines) + "\n").encode()

    made = [{"alert": f"Bench{n}", "expr": f"error_rate > {0.5 + n / 100}"} for n in range(rules)]
    found: list[Phase] = []
    async with answering(exported) as exporter:
        for given in ([], made):
            async with running_prometheus(exporter, given) as prometheus:
                process: psutil.Process = prometheus.process
                await asyncio.sleep(SETTLING)
                begun, cpu = time.monotonic(), cpu_seconds(process)
                await asyncio.sleep(seconds)
                passed, used = time.monotonic() - begun, cpu_seconds(process) - cpu
                found.append(Phase(passed, used, round(passed) * len(given) * agents))
    return found[0], found[1]


def row(name: str, without: Phase, with_rules: Phase) -> tuple[list[str], float]:
    """What is shown, and the microseconds of one evaluation."""
    shares = [phase.cpu / phase.seconds for phase in (without, with_rules)]
    price = max(0.0, shares[1] - shares[0]) * with_rules.seconds
    each = price / max(1, with_rules.evaluations) * 1e6
    rate = with_rules.evaluations / with_rules.seconds
    shown = [name, *(f"{share * 100:.1f} %" for share in shares), f"{rate:,.0f}", f"{each:.3f} µs"]
    return shown, each


async def run(storage: Storage, rules: int, agents: int, seconds: float) -> str:
    """The table."""
    mine, one = row("Pilothouse", *await ours(storage, rules, agents, seconds))
    other, two = row("Prometheus", *await theirs(rules, agents, seconds))
    header = ["", "processor without rules", "with them", "evaluations/s", "each"]
    title = f"{rules} rules on {agents:,} series, {seconds:.0f} s each ({', '.join(storage.names)})"
    ratio = f"{two / one:.2f}×" if one else "–"
    return f"{table(title, header, [mine, other])}\nPrometheus' price of one by ours: {ratio}\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rules", type=int, default=10)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    add_storage(parser)
    given = parser.parse_args()
    if given.agents % 10 or not 0 < given.agents <= 1000:
        parser.error("--agents is a multiple of 10, up to 1000")
    with running_storage(with_redis=given.redis, with_postgres=given.postgres) as storage:
        print(provenance(*storage.names, versions()[0]), flush=True)
        print(asyncio.run(run(storage, given.rules, given.agents, given.seconds)))


if __name__ == "__main__":
    main()
