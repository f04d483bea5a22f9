"""The synchronous client; the twin of `aio`.

    with pilothouse.Client("127.0.0.1:50051") as client:
        command = client.workflow("wf-1").pause(reason="deploy")
        command.wait(timeout=30)
        for workflow in client.watch_workflows().items():
            print(workflow.id, workflow.state)

The generated stubs are its attributes (`client.workflows.ListWorkflows(request)` and so on), with typed errors, default
deadlines, and retries of calls that may be repeated. It may be shared by threads.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc
from google.protobuf.message import Message

from pilothouse import _channel, _pages
from pilothouse._handles import seconds
from pilothouse._stubs import Stubs
from pilothouse._sync_channel import Channel
from pilothouse._sync_handles import AlertHandle, CommandHandle, RuleHandle, WorkflowHandle
from pilothouse._sync_routes import open_channel
from pilothouse._sync_watch import Watch
from pilothouse.retry import RetryPolicy
from pilothouse.v1 import (
    agents_pb2,
    alerts_pb2,
    channels_pb2,
    commands_pb2,
    deliveries_pb2,
    escalations_pb2,
    events_pb2,
    heartbeats_pb2,
    metrics_pb2,
    rules_pb2,
    silences_pb2,
    workflows_pb2,
)
from pilothouse.watching import WatchCore, WatchOptions, items_of

__all__ = ["AlertHandle", "Client", "CommandHandle", "RuleHandle", "Watch", "WorkflowHandle"]

T = TypeVar("T")


class Client(Stubs):
    """A connection to a Pilothouse server. One is enough for a program; use it as a context manager or `close()` it."""

    def __init__(
        self,
        target: str = _channel.DEFAULT_TARGET,
        *,
        tls: _channel.Tls | None = None,
        timeout: float | None = _channel.DEFAULT_TIMEOUT,
        retry: RetryPolicy | None = None,
        channel: grpc.Channel | None = None,
    ) -> None:
        """Connect when the first call is made.

        `target` is host and port, or those of several replicas with commas between them: calls go to one until it
        cannot serve, then to the next. `timeout` is the seconds that a call may take, retries included, unless it is
        given its own (None is no limit). With `channel` that is used instead of a new one, and is closed with the
        client.
        """
        if channel is None and tls is not None:
            options = (*_channel.OPTIONS, *tls.options())
            channel = open_channel(target, options, tls.credentials())
        elif channel is None:
            channel = open_channel(target, _channel.OPTIONS)
        self.target = target
        """Where the server is."""
        self.channel = Channel(channel, timeout=timeout, retry=retry or RetryPolicy())
        """The channel; further generated stubs may be made on it."""
        super().__init__(self.channel)

    def close(self) -> None:
        """Close the connection; calls under way are cancelled."""
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def workflow(self, workflow_id: str) -> WorkflowHandle:
        """One workflow, to look at and to steer. Nothing is called yet."""
        return WorkflowHandle(self, workflow_id)

    def command(self, command_id: str) -> CommandHandle:
        """One command, to wait for. Nothing is called yet."""
        return CommandHandle(self, command_id)

    def alert(self, alert_id: str) -> AlertHandle:
        """One alert, to take care of. Nothing is called yet."""
        return AlertHandle(self, alert_id)

    def rule(self, rule_id: str) -> RuleHandle:
        """One rule, to look at and to change. Nothing is called yet."""
        return RuleHandle(self, rule_id)

    def get_metrics(self) -> metrics_pb2.MetricsSnapshot:
        """The newest metrics. Raises NoSnapshot while there are none."""
        return (self.metrics.GetMetrics(metrics_pb2.GetMetricsRequest())).snapshot

    def list_workflows(
        self, *, filter: str = "", order_by: str = "", limit: int | None = None
    ) -> Iterator[workflows_pb2.Workflow]:
        """Workflows that match `filter`, page by page as they are read; at most `limit`."""
        request = workflows_pb2.ListWorkflowsRequest(filter=filter, order_by=order_by)
        return self._list(self.workflows.ListWorkflows, request, limit, workflows_pb2.Workflow)

    def list_agents(
        self, *, filter: str = "", limit: int | None = None
    ) -> Iterator[agents_pb2.Agent]:
        """Agents that match `filter`."""
        request = agents_pb2.ListAgentsRequest(filter=filter)
        return self._list(self.agents.ListAgents, request, limit, agents_pb2.Agent)

    def list_alerts(
        self, *, filter: str = "", limit: int | None = None
    ) -> Iterator[alerts_pb2.Alert]:
        """Alerts that match `filter`, newest first; the history too."""
        request = alerts_pb2.ListAlertsRequest(filter=filter)
        return self._list(self.alerts.ListAlerts, request, limit, alerts_pb2.Alert)

    def list_rules(self) -> Sequence[rules_pb2.AlertRule]:
        """The rules that raise alerts, by name."""
        return (self.rules.ListRules(rules_pb2.ListRulesRequest())).rules

    def create_rule(
        self, rule: rules_pb2.AlertRule, *, reason: str = "", validate_only: bool = False
    ) -> rules_pb2.AlertRule:
        """Make a rule, or only check it. Raises InvalidArgument with the field, AlreadyExists."""
        request = rules_pb2.CreateRuleRequest(rule=rule, reason=reason, validate_only=validate_only)
        return (self.rules.CreateRule(request)).rule

    def import_rules(
        self, document: str, *, reason: str = "", validate_only: bool = False
    ) -> rules_pb2.ImportRulesResponse:
        """Take rules from a document of ours or of Prometheus: all of them, or none."""
        request = rules_pb2.ImportRulesRequest(
            document=document, reason=reason, validate_only=validate_only
        )
        return self.rules.ImportRules(request)

    def export_rules(self, *rule_ids: str) -> str:
        """These rules as our YAML, or all of them."""
        request = rules_pb2.ExportRulesRequest(rule_ids=rule_ids)
        return (self.rules.ExportRules(request)).document

    def list_silences(
        self, *, include_expired: bool = False, limit: int | None = None
    ) -> Iterator[silences_pb2.Silence]:
        """Silences, newest first."""
        request = silences_pb2.ListSilencesRequest(include_expired=include_expired)
        return self._list(self.silences.ListSilences, request, limit, silences_pb2.Silence)

    def list_channels(self) -> Sequence[channels_pb2.Channel]:
        """The channels that notifications go to, by name, without their secrets."""
        return (self.channels.ListChannels(channels_pb2.ListChannelsRequest())).channels

    def list_escalations(self) -> Sequence[escalations_pb2.Escalation]:
        """The escalations, by name."""
        request = escalations_pb2.ListEscalationsRequest()
        return (self.escalations.ListEscalations(request)).escalations

    def list_deliveries(
        self, *, filter: str = "", limit: int | None = None
    ) -> Iterator[deliveries_pb2.Delivery]:
        """Notifications that match `filter`, newest first, with what became of them."""
        request = deliveries_pb2.ListDeliveriesRequest(filter=filter)
        return self._list(self.deliveries.ListDeliveries, request, limit, deliveries_pb2.Delivery)

    def list_heartbeats(self) -> Sequence[heartbeats_pb2.ExpectedHeartbeat]:
        """What has to be heard of, by id."""
        request = heartbeats_pb2.ListHeartbeatsRequest()
        return (self.heartbeats.ListHeartbeats(request)).heartbeats

    def beat(self, heartbeat_id: str) -> None:
        """Say that it is alive."""
        request = heartbeats_pb2.BeatHeartbeatRequest(heartbeat_id=heartbeat_id)
        self.heartbeats.BeatHeartbeat(request)

    def list_commands(
        self, *, filter: str = "", limit: int | None = None
    ) -> Iterator[commands_pb2.Command]:
        """Commands that match `filter`, newest first."""
        request = commands_pb2.ListCommandsRequest(filter=filter)
        return self._list(self.commands.ListCommands, request, limit, commands_pb2.Command)

    def list_events(
        self, *, filter: str = "", ascending: bool = False, limit: int | None = None
    ) -> Iterator[events_pb2.Event]:
        """Stored events that match `filter`, newest first unless `ascending`."""
        request = events_pb2.ListEventsRequest(filter=filter, ascending=ascending)
        return self._list(self.events.ListEvents, request, limit, events_pb2.Event)

    def watch_workflows(
        self,
        *,
        filter: str = "",
        backlog: int = 0,
        resume_token: str = "",
        options: WatchOptions | None = None,
    ) -> Watch[workflows_pb2.Workflow]:
        """Workflows as they change, each whole; first the `backlog` that changed last."""
        request = workflows_pb2.WatchWorkflowsRequest(
            filter=filter, backlog=backlog, resume_token=resume_token
        )
        return self.watch(self.workflows.WatchWorkflows, request, workflows_pb2.Workflow, options)

    def watch_agents(
        self, *, resume_token: str = "", options: WatchOptions | None = None
    ) -> Watch[agents_pb2.Agent]:
        """Every agent, then each as it changes."""
        request = agents_pb2.WatchAgentsRequest(resume_token=resume_token)
        return self.watch(self.agents.WatchAgents, request, agents_pb2.Agent, options)

    def watch_alerts(
        self, *, resume_token: str = "", options: WatchOptions | None = None
    ) -> Watch[alerts_pb2.Alert]:
        """Every alert that is not resolved, then each as it changes."""
        request = alerts_pb2.WatchAlertsRequest(resume_token=resume_token)
        return self.watch(self.alerts.WatchAlerts, request, alerts_pb2.Alert, options)

    def watch_events(
        self,
        *,
        filter: str = "",
        backlog: int = 0,
        resume_token: str = "",
        options: WatchOptions | None = None,
    ) -> Watch[events_pb2.Event]:
        """Events as they come, one by one; first the `backlog` newest."""
        request = events_pb2.WatchEventsRequest(
            filter=filter, backlog=backlog, resume_token=resume_token
        )
        return self.watch(self.events.WatchEvents, request, events_pb2.Event, options)

    def watch_metrics(
        self, *, interval: float = 5.0, options: WatchOptions | None = None
    ) -> Watch[metrics_pb2.MetricsSnapshot]:
        """The newest metrics at once and then every `interval` seconds (0.25 to 60). A slow reader misses some."""
        request = metrics_pb2.SubscribeMetricsRequest(interval=seconds(interval))
        chosen = options or WatchOptions(silence=max(15.0, 3 * interval))
        return self.watch(
            self.metrics.SubscribeMetrics, request, metrics_pb2.MetricsSnapshot, chosen
        )

    def watch(
        self,
        method: Callable[[Any], Iterable[Any]],
        request: Message,
        kind: type[T],  # noqa: ARG002 - for the type checker, which cannot read the contract
        options: WatchOptions | None = None,
    ) -> Watch[T]:
        """Any server stream of the contract as a watch of items of `kind`."""
        items = cast("Callable[[Message], Iterable[T]]", items_of)
        return Watch(method, WatchCore(request, items, options or WatchOptions()))

    def _list(
        self,
        method: Callable[[Any], Message],
        request: Message,
        limit: int | None,
        kind: type[T],  # noqa: ARG002
    ) -> Iterator[T]:
        pages = _pages.Pages(request, limit)
        while not pages.done:
            for row in pages.received(method(pages.request())):
                yield cast("T", row)
