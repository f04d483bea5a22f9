"""The nouns of the asyncio client: one workflow, one command, one alert, each by its id."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from google.protobuf.field_mask_pb2 import FieldMask

from pilothouse._handles import POLL_FIRST, POLL_LIMIT, has_ended, seconds
from pilothouse.retry import Backoff
from pilothouse.v1 import alerts_pb2, commands_pb2, rules_pb2, workflows_pb2
from pilothouse.v1.enums_pb2 import ControlAction

if TYPE_CHECKING:
    from pilothouse.aio import Client


class WorkflowHandle:
    """One workflow, by its id."""

    def __init__(self, client: Client, workflow_id: str) -> None:
        self._client = client
        self.id = workflow_id
        """Its id."""

    async def get(self) -> workflows_pb2.Workflow:
        """The workflow as it is now."""
        return (await self.describe()).workflow

    async def describe(self) -> workflows_pb2.GetWorkflowResponse:
        """The workflow with its tasks, commands and newest events."""
        return await self._client.workflows.GetWorkflow(
            workflows_pb2.GetWorkflowRequest(workflow_id=self.id)
        )

    async def pause(
        self, *, reason: str = "", etag: str = "", request_id: str = ""
    ) -> CommandHandle:
        """Ask the engine to let nothing new of it start. Raises IllegalTransition, CommandPending, EtagMismatch and
        others."""
        return await self._control(ControlAction.CONTROL_ACTION_PAUSE, reason, etag, request_id)

    async def resume(
        self, *, reason: str = "", etag: str = "", request_id: str = ""
    ) -> CommandHandle:
        """Ask the engine to go on with it."""
        return await self._control(ControlAction.CONTROL_ACTION_RESUME, reason, etag, request_id)

    async def cancel(
        self, *, reason: str = "", etag: str = "", request_id: str = ""
    ) -> CommandHandle:
        """Ask the engine to end it."""
        return await self._control(ControlAction.CONTROL_ACTION_CANCEL, reason, etag, request_id)

    async def retry(
        self, *, reason: str = "", etag: str = "", request_id: str = ""
    ) -> CommandHandle:
        """Ask the engine to try it again from the stage that failed."""
        return await self._control(ControlAction.CONTROL_ACTION_RETRY, reason, etag, request_id)

    async def _control(
        self, action: ControlAction.ValueType, reason: str, etag: str, request_id: str
    ) -> CommandHandle:
        request = workflows_pb2.ControlWorkflowRequest(
            workflow_id=self.id, action=action, reason=reason, etag=etag, request_id=request_id
        )
        command = (await self._client.workflows.ControlWorkflow(request)).command
        return CommandHandle(self._client, command.id, command)


class CommandHandle:
    """One command, by its id."""

    def __init__(
        self, client: Client, command_id: str, command: commands_pb2.Command | None = None
    ) -> None:
        self._client = client
        self.id = command_id
        """Its id."""
        self.command = command
        """The command as last seen; None before it was."""

    async def get(self) -> commands_pb2.Command:
        """The command as it is now."""
        request = commands_pb2.GetCommandRequest(command_id=self.id)
        self.command = (await self._client.commands.GetCommand(request)).command
        return self.command

    async def wait(self, timeout: float | None = None) -> commands_pb2.Command:
        """The command once it is EFFECTIVE. Raises CommandNotEffective when it fails or expires, TimeoutError after
        `timeout` s."""
        looks = Backoff(POLL_FIRST, POLL_LIMIT)
        async with asyncio.timeout(timeout):
            while True:
                command = await self.get()
                if has_ended(command):
                    return command
                await asyncio.sleep(looks.next())


class AlertHandle:
    """One alert, by its id."""

    def __init__(self, client: Client, alert_id: str) -> None:
        self._client = client
        self.id = alert_id
        """Its id."""

    async def get(self) -> alerts_pb2.Alert:
        """The alert as it is now."""
        return (
            await self._client.alerts.GetAlert(alerts_pb2.GetAlertRequest(alert_id=self.id))
        ).alert

    async def acknowledge(
        self, *, comment: str = "", etag: str = "", expire_after: float | None = None
    ) -> alerts_pb2.Alert:
        """Say that someone takes care of it; for so many seconds, or until it is resolved."""
        request = alerts_pb2.AcknowledgeAlertRequest(
            alert_id=self.id,
            comment=comment,
            etag=etag,
            expire_after=None if expire_after is None else seconds(expire_after),
        )
        return (await self._client.alerts.AcknowledgeAlert(request)).alert

    async def unacknowledge(self, *, comment: str = "", etag: str = "") -> alerts_pb2.Alert:
        """Say that nobody takes care of it any more."""
        request = alerts_pb2.UnacknowledgeAlertRequest(alert_id=self.id, comment=comment, etag=etag)
        return (await self._client.alerts.UnacknowledgeAlert(request)).alert

    async def assign(self, assignee: str, *, comment: str = "", etag: str = "") -> alerts_pb2.Alert:
        """Say who has it; "" is nobody."""
        request = alerts_pb2.AssignAlertRequest(
            alert_id=self.id, assignee=assignee, comment=comment, etag=etag
        )
        return (await self._client.alerts.AssignAlert(request)).alert

    async def comment(self, comment: str) -> alerts_pb2.Alert:
        """Say something about it."""
        request = alerts_pb2.CommentAlertRequest(alert_id=self.id, comment=comment)
        return (await self._client.alerts.CommentAlert(request)).alert

    async def resolve(self, *, reason: str = "", etag: str = "") -> alerts_pb2.Alert:
        """End it by hand."""
        request = alerts_pb2.ResolveAlertRequest(alert_id=self.id, reason=reason, etag=etag)
        return (await self._client.alerts.ResolveAlert(request)).alert


class RuleHandle:
    """One rule, by its id."""

    def __init__(self, client: Client, rule_id: str) -> None:
        self._client = client
        self.id = rule_id
        """Its id."""

    async def get(self, *, version: int = 0) -> rules_pb2.AlertRule:
        """The rule as it is now, or as it was in a version."""
        request = rules_pb2.GetRuleRequest(rule_id=self.id, version=version)
        return (await self._client.rules.GetRule(request)).rule

    async def update(
        self, rule: rules_pb2.AlertRule, *fields: str, reason: str = "", etag: str = ""
    ) -> rules_pb2.UpdateRuleResponse:
        """Give it the values that `rule` has in these fields, such as "condition"; in all when there are none. Raises
        EtagMismatch."""
        changed = rules_pb2.AlertRule()
        changed.CopyFrom(rule)
        changed.id = self.id
        request = rules_pb2.UpdateRuleRequest(
            rule=changed, update_mask=FieldMask(paths=fields), reason=reason, etag=etag
        )
        return await self._client.rules.UpdateRule(request)

    async def enable(self, *, reason: str = "") -> rules_pb2.AlertRule:
        """Evaluate it (again)."""
        request = rules_pb2.EnableRuleRequest(rule_id=self.id, reason=reason)
        return (await self._client.rules.EnableRule(request)).rule

    async def disable(self, *, reason: str = "") -> rules_pb2.AlertRule:
        """Evaluate it no more; its alerts are resolved."""
        request = rules_pb2.DisableRuleRequest(rule_id=self.id, reason=reason)
        return (await self._client.rules.DisableRule(request)).rule

    async def delete(self, *, reason: str = "", etag: str = "") -> None:
        """Delete it; its alerts are resolved, its versions stay."""
        request = rules_pb2.DeleteRuleRequest(rule_id=self.id, reason=reason, etag=etag)
        await self._client.rules.DeleteRule(request)

    async def restore(
        self, version: int, *, reason: str = "", etag: str = ""
    ) -> rules_pb2.AlertRule:
        """Make it what it was in a version; a deleted rule comes back."""
        request = rules_pb2.RestoreRuleRequest(
            rule_id=self.id, version=version, reason=reason, etag=etag
        )
        return (await self._client.rules.RestoreRule(request)).rule
