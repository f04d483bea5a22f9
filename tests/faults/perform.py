"""One flow through one cluster, disturbed or not, and what the cluster shows of it once all is quiet."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence

from google.protobuf.json_format import MessageToDict

import pilothouse.aio
from pilothouse.retry import NO_RETRY
from pilothouse.v1.alerts_pb2 import Alert, AlertState
from pilothouse.v1.events_pb2 import Event, PublishEventsRequest
from tests.faults.cluster import AddForeign, Cluster, restless
from tests.faults.flow import BEGAN_US, RULES, Delivery, Flow, at, hash_of
from tests.faults.observe import Before, Observer, Shown
from tests.faults.plan import Fault, befall
from tests.faults.reference import known
from tests.faults.steering import Engine, Operator, patient
from tests.faults.watcher import OPTIONS, Watcher
from tests.support import wait_until

PATIENCE = 45.0
"""Seconds until what should happen has happened, with all that a seed may bring in between."""
CALLS = 500
"""Events in one call of the alarm and the relief."""


class Performance:
    """Made for one flow; `run` once."""

    def __init__(self, cluster: Cluster, flow: Flow) -> None:
        self._cluster = cluster
        self._flow = flow
        self.began_us = 0
        """When the flow's own time began."""
        self._client = pilothouse.aio.Client(cluster.target, timeout=2.5, retry=NO_RETRY)

    async def run(self, faults: Sequence[Fault] = ()) -> list[Shown]:
        """What the cluster shows, by each of its servers. Raises NeverHappened for what did not come about in time."""
        await self._quiet()
        async with pilothouse.aio.Client(self._cluster.direct[0]) as looking:
            before = Before(await looking.get_metrics())
        self.began_us = time.time_ns() // 1000 - BEGAN_US
        engine = Engine(self._cluster.target, self._flow.prefix, self.began_us)
        operator = Operator(self._client, engine, PATIENCE)
        watcher = Watcher(self._client, self._flow.prefix)
        async with self._client, watcher.watching():
            async with engine.executor, asyncio.TaskGroup() as tasks:
                for fault in faults:
                    tasks.create_task(befall(self._cluster, fault))
                engine.begin()
                tasks.create_task(operator.run())
                tasks.create_task(self._happen())
            await self._quiet()
            await watcher.come(set(known(self._flow)["events"]), OPTIONS.silence + 30)
        shown: list[Shown] = []
        for target in self._cluster.direct:
            async with pilothouse.aio.Client(target) as looking:
                observer = Observer(looking, self._flow, self.began_us)
                seen = await observer.everything(before, engine.applied, operator.commands)
                shown.append({**seen, "watched": dict(watcher.seen)})
        return shown

    async def _quiet(self) -> None:
        async def quiet() -> bool:
            self._restless = await restless(self._cluster)
            return not self._restless

        self._restless = ""
        try:
            await wait_until(quiet, within=PATIENCE, what="quiet")
        except AssertionError as error:
            raise AssertionError(f"no quiet: {self._restless}") from error

    async def _happen(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for deliveries in self._flow.main:
                tasks.create_task(self._publisher(deliveries))
            tasks.create_task(self._foreign(self._flow.foreign_main))
        await self._publish(at(self.began_us, self._flow.alarm()))
        alerts = [await self._until_alert(rule.id, AlertState.ALERT_STATE_FIRING) for rule in RULES]
        await self._acknowledge(alerts[0])
        await self._publish(at(self.began_us, self._flow.relief()))
        for rule in RULES:
            await self._until_alert(rule.id, AlertState.ALERT_STATE_RESOLVED)

    async def _publisher(self, deliveries: Iterable[Delivery]) -> None:
        """One connection, which says each thing again until it was taken."""
        begun = time.monotonic()
        target = self._cluster.target
        async with pilothouse.aio.Client(target, timeout=2.5, retry=NO_RETRY) as client:
            for delivery in deliveries:
                await asyncio.sleep(max(0.0, begun + delivery.at - time.monotonic()))
                await self._publish(at(self.began_us, delivery.said), client)

    async def _publish(
        self, events: Sequence[Event], client: pilothouse.aio.Client | None = None
    ) -> None:
        publish = (client or self._client).events.PublishEvents

        async def taken() -> bool:
            answer = await patient(publish(request))
            assert answer is None or not answer.rejected, answer.rejected
            return answer is not None

        for start in range(0, len(events), CALLS):
            request = PublishEventsRequest(events=events[start : start + CALLS])
            await wait_until(taken, within=PATIENCE, what="the events to be taken")

    async def _foreign(self, deliveries: Iterable[Delivery]) -> None:
        """What others put into the stream themselves; where there is no stream, it is published."""
        begun = time.monotonic()
        for delivery in deliveries:
            await asyncio.sleep(max(0.0, begun + delivery.at - time.monotonic()))
            events = at(self.began_us, delivery.said)
            add = self._cluster.add_foreign
            if add is None:
                await self._publish(events)
                continue
            for event in events:
                await self._add(add, as_foreign(event))

    async def _add(self, add: AddForeign, event: str | bytes) -> None:
        async def added() -> bool:
            try:
                await add(event)
            except OSError:
                return False
            return True

        await wait_until(added, within=PATIENCE, what="the stream to take an entry")

    async def _until_alert(self, rule_id: str, state: AlertState.ValueType) -> str:
        """The id of the flow's alert of a rule, once it is in that state."""

        async def found() -> str:
            alert = await patient(self._alert(rule_id))
            return alert.id if alert is not None and alert.state == state else ""

        what = f"alert {rule_id} to be {AlertState.Name(state)}"
        return await wait_until(found, within=PATIENCE, what=what)

    async def _alert(self, rule_id: str) -> Alert | None:
        async for alert in self._client.list_alerts(filter=f'rule = "{rule_id}"'):
            if alert.labels.get("workflow_type", "").startswith(self._flow.prefix):
                return alert
        return None

    async def _acknowledge(self, alert_id: str) -> None:
        async def acknowledged() -> bool:
            said = self._client.alert(alert_id).acknowledge(comment="I see it")
            return await patient(said) is not None

        await wait_until(acknowledged, within=PATIENCE, what="the acknowledgement")


def as_foreign(event: Event) -> str | bytes:
    """An event as producers write it that do not go by the server: one serialized, the next as plain JSON."""
    if hash_of(event.id) % 2:
        return event.SerializeToString()
    return json.dumps(MessageToDict(event, preserving_proto_field_name=event.attempt % 2 == 0))
