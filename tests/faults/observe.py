"""What the system shows of one flow, read through its API, with everything left out that no two runs can share.

Names are without the flow's prefix, times are offsets to the flow's beginning, ids that the server made are replaced by
what they are about. What remains is plain data, equal whenever two runs of the same flow came to the same end.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

import pilothouse.aio
from pilothouse.v1 import (
    agents_pb2,
    alerts_pb2,
    commands_pb2,
    events_pb2,
    metrics_pb2,
    workflows_pb2,
)
from pilothouse.v1.enums_pb2 import AgentState, ControlAction, WorkflowState, WorkState
from tests.faults.flow import Flow

Shown = dict[str, Any]
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Before:
    """Numbers of the whole system before a flow, to be taken off those after it."""

    snapshot: metrics_pb2.MetricsSnapshot


class Observer:
    """Looks at one flow through one client."""

    def __init__(self, client: pilothouse.aio.Client, flow: Flow, began_us: int) -> None:
        self._client = client
        self._flow = flow
        self._prefix = flow.prefix
        self._began_us = began_us
        self._requests: dict[str, str] = {}

    async def everything(
        self, before: Before, applied: Counter[str], asks: dict[str, str]
    ) -> Shown:
        """All that is compared. `asks` names the commands that were given, `applied` counts those that the engine
        saw."""
        names = {command: ask for ask, command in asks.items()}
        workflows, tasks = await self._workflows()
        return {
            "workflows": workflows,
            "tasks": tasks,
            "agents": await self._agents(),
            "events": await self._events(),
            "commands": await self._commands(names),
            "applied": {names.get(command, "?"): times for command, times in applied.items()},
            "alerts": await self._alerts(),
            "told": await self._told(names),
            "metrics": await self._metrics(before.snapshot),
            "history": await history(self._client, self._prefix),
        }

    # Rows

    async def _workflows(self) -> tuple[Shown, Shown]:
        rows: Shown = {}
        tasks: Shown = {}
        for source in (*self._flow.sources, f"{self._prefix}steered"):
            listed = self._client.list_workflows(filter=f'source = "{source}"')
            async for workflow in listed:
                name = self._plain(workflow.id)
                rows[name] = self._workflow(workflow)
                if not name.startswith("frail"):
                    described = await self._client.workflow(workflow.id).describe()
                    for task in described.tasks:
                        tasks[f"{name}/{self._plain(task.id)}"] = self._task(task)
        return rows, tasks

    def _workflow(self, row: workflows_pb2.Workflow) -> Shown:
        return {
            "type": self._plain(row.workflow_type),
            "name": self._plain(row.workflow_name),
            "state": _said(WorkflowState.Name(row.state)),
            "attempt": row.attempt,
            "source": self._plain(row.source),
            "stage": self._plain(row.current_stage),
            "agent": self._plain(row.agent_id),
            "error": row.error.code,
            "tokens": row.usage.input_tokens,
            "pending": row.pending_command.id != "",
            "updated": self._at(row, "update_time"),
            **self._times(row, "create_time", "start_time", "end_time", "duration"),
            "stages": [
                [
                    self._plain(stage.name),
                    _said(WorkState.Name(stage.state)),
                    self._times(stage, "start_time", "end_time", "duration"),
                ]
                for stage in row.stages
            ],
        }

    def _task(self, row: workflows_pb2.Task) -> Shown:
        return {
            "state": _said(WorkState.Name(row.state)),
            "stage": self._plain(row.stage),
            "attempt": row.attempt,
            "agent": self._plain(row.agent_id),
            "message": row.message,
            **self._times(row, "queue_time", "start_time", "end_time", "duration"),
        }

    async def _agents(self) -> Shown:
        listed = self._client.list_agents(filter=f'source = "{self._prefix}fleet"')
        return {self._plain(row.id): self._agent(row) async for row in listed}

    def _agent(self, row: agents_pb2.Agent) -> Shown:
        return {
            "type": self._plain(row.agent_type),
            "state": _said(AgentState.Name(row.state)),
            "why": row.offline_reason,
            "load": [row.load.active, row.load.capacity],
            "tasks": [row.completed_tasks, row.failed_tasks],
            "work": [self._plain(row.workflow_id), self._plain(row.task_id)],
        }

    # Events, commands, alerts

    async def _listed(self, condition: str) -> list[events_pb2.Event]:
        request = events_pb2.ListEventsRequest(filter=condition, page_size=PAGE, ascending=True)
        events: list[events_pb2.Event] = []
        while True:
            page = await self._client.events.ListEvents(request)
            events += page.events
            if not page.next_page_token:
                return events
            request.page_token = page.next_page_token

    async def _events(self) -> Shown:
        """How often each event of the flow is kept."""
        kept: Counter[str] = Counter()
        for source in (*self._flow.sources, f"{self._prefix}steered"):
            kept.update(
                self._plain(event.id) for event in await self._listed(f'source = "{source}"')
            )
        return dict(kept)

    async def _commands(self, names: dict[str, str]) -> Shown:
        listed = self._client.list_commands(filter=f'source = "{self._prefix}steered"')
        shown: Shown = {}
        async for row in listed:
            name = names.get(row.id, f"unasked: {ControlAction.Name(row.action)} {row.workflow_id}")
            shown[name] = {
                "state": _said(commands_pb2.CommandState.Name(row.state)),
                "error": row.error.code,
                "attempt": row.attempt,
                "taken": row.HasField("accept_time"),
                "effect": self._at(row, "effect_time"),
            }
        return shown

    async def _alerts(self) -> Shown:
        """By rule and type: the steps of each alert there was; more than one is one too many."""
        shown: Shown = {}
        async for alert in self._client.list_alerts():
            kind = alert.labels.get("workflow_type", "")
            if kind.startswith(self._prefix):
                request = alerts_pb2.GetAlertRequest(alert_id=alert.id)
                steps = (await self._client.alerts.GetAlert(request)).transitions
                name = f"{alert.rule_id} {self._plain(kind)}"
                shown.setdefault(name, []).append([_step(step) for step in steps])
        return shown

    async def _told(self, names: dict[str, str]) -> Shown:
        """How often each event that the server made itself is kept."""
        told: Counter[str] = Counter()
        for event in await self._listed('source = "pilothouse"'):
            about = event.workflow_id or event.agent_id or event.attributes.get("workflow_type", "")
            if about.startswith(self._prefix):
                kind = _said(events_pb2.EventType.Name(event.type), 2)
                what = names.get(event.command_id, event.command_id) or event.attributes["rule_id"]
                told[f"{kind} {what} of {self._plain(about)}"] += 1
        return dict(told)

    # Numbers

    async def _metrics(self, before: metrics_pb2.MetricsSnapshot) -> Shown:
        snapshot = await self._client.get_metrics()
        shown: Shown = {}
        for series in snapshot.series:
            if series.name.startswith(self._prefix):
                kind = _said(metrics_pb2.MetricDimension.Name(series.dimension), 2)
                shown[f"{kind} {self._plain(series.name)}"] = _series(series)
        fleet, was = (
            snapshot.series[0],
            before.series[0] if before.series else metrics_pb2.MetricSeries(),
        )
        shown["fleet"] = {
            "states": _more(fleet.states, was.states, "queued running waiting paused queue_depth"),
            "hour": _more(fleet.windows[-1], was.windows[-1], "started completed failed cancelled")
            if was.windows
            else {
                name: getattr(fleet.windows[-1], name)
                for name in ["started", "completed", "failed", "cancelled"]
            },
        }
        shown["totals"] = _more(
            snapshot.totals, before.totals, "workflows completed failed cancelled"
        )
        shown["agents"] = _more(snapshot.agents, before.agents, "online busy draining known")
        met = "beyond_horizon future skewed other_names evicted undecodable"
        shown["reader"] = _more(snapshot.reader, before.reader, met)
        return shown

    # Words and times

    def _plain(self, text: str) -> str:
        return text.replace(self._prefix, "")

    def _at(self, row: Message, field: str) -> int | None:
        if not row.HasField(field):
            return None
        value = getattr(row, field)
        if isinstance(value, Duration):
            return value.ToMicroseconds()
        assert isinstance(value, Timestamp)
        return value.ToMicroseconds() - self._began_us

    def _times(self, row: Message, *fields: str) -> Shown:
        return {field: self._at(row, field) for field in fields}


def _said(name: str, words: int = 2) -> str:
    """The name of an enum's value without the name of the enum."""
    return name.split("_", words)[-1]


def _step(step: alerts_pb2.AlertTransition) -> str:
    states = alerts_pb2.AlertState
    before, after = _said(states.Name(step.from_state)), _said(states.Name(step.to_state))
    return f"{before} → {after} {step.actor} {step.comment}".strip()


def _series(series: metrics_pb2.MetricSeries) -> Shown:
    """The windows that are long enough not to slide while one looks."""
    states = series.states
    return {
        "now": [states.queued, states.running, states.waiting, states.paused, states.queue_depth],
        **{
            f"{window.window.seconds // 60} min": _window(window)
            for window in series.windows
            if window.window.seconds >= 900
        },
    }


def _window(window: metrics_pb2.WindowMetrics) -> Shown:
    latency = window.latency
    return {
        "counts": [window.started, window.completed, window.failed, window.cancelled],
        "latencies": latency.count,
        **{name: getattr(latency, name).ToMicroseconds() for name in ("p50", "p95", "p99", "mean")},
    }


def _more(after: Message, before: Message, names: str) -> Shown:
    return {name: getattr(after, name) - getattr(before, name) for name in names.split()}


HOUR_US = 3600 * 1_000_000
KINDS = ("build", "review", "late", "alarm", "frail", "steered", "foreign")
"""The types of workflows in a flow."""


async def history(client: pilothouse.aio.Client, prefix: str, since_us: int | None = None) -> Shown:
    """The sums of all that is charted of each type: over the last half hour, or over whole minutes since then. A server
    whose clock was put back is asked for what by its clock is still to come."""
    shown: Shown = {}
    now_us = time.time_ns() // 1000
    for kind in KINDS:
        request = metrics_pb2.QueryMetricsRequest(
            dimension=metrics_pb2.METRIC_DIMENSION_WORKFLOW_TYPE, name=f"{prefix}{kind}"
        )
        if since_us is None:
            request.start_time.FromMicroseconds(now_us - HOUR_US // 2)
            request.end_time.FromMicroseconds(now_us + HOUR_US // 60)
        else:
            request.start_time.FromMicroseconds(since_us)
            request.step.FromSeconds(60)
        points = (await client.metrics.QueryMetrics(request)).points
        shown[kind] = [
            sum(getattr(point, name) for point in points)
            for name in ("started", "completed", "failed", "cancelled")
        ] + [sum(point.latency.count for point in points)]
    return shown
