"""The services of the small server, each a few lines over what `Server` knows."""

# A server's methods have the names and the arguments of the contract.
# ruff: noqa: ARG002, N802

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from pilothouse.v1 import (
    agents_pb2,
    agents_pb2_grpc,
    commands_pb2,
    commands_pb2_grpc,
    events_pb2,
    workflows_pb2,
    workflows_pb2_grpc,
)
from pilothouse.v1.commands_pb2 import CommandState
from pilothouse.v1.enums_pb2 import ControlAction

if TYPE_CHECKING:
    from tests.client.support import Server

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")

ENDED = {
    CommandState.COMMAND_STATE_EFFECTIVE,
    CommandState.COMMAND_STATE_FAILED,
    CommandState.COMMAND_STATE_EXPIRED,
}


def page(items: Sequence[T], size: int, token: str, default: int) -> tuple[Sequence[T], str]:
    """One page of `items`; a token is a place."""
    start = int(token or 0)
    end = start + (size or default)
    return items[start:end], str(end) if end < len(items) else ""


class WorkflowServicer(workflows_pb2_grpc.WorkflowServiceServicer):
    def __init__(self, server: Server) -> None:
        self.server = server

    async def ListWorkflows(
        self, request: workflows_pb2.ListWorkflowsRequest, context: Context
    ) -> workflows_pb2.ListWorkflowsResponse:
        def effect() -> workflows_pb2.ListWorkflowsResponse:
            known = list(self.server.workflows.values())
            rows, token = page(known, request.page_size, request.page_token, 50)
            return workflows_pb2.ListWorkflowsResponse(workflows=rows, next_page_token=token)

        return await self.server.answer("ListWorkflows", request, context, effect)

    async def GetWorkflow(
        self, request: workflows_pb2.GetWorkflowRequest, context: Context
    ) -> workflows_pb2.GetWorkflowResponse:
        await self._known(request.workflow_id, context)
        return await self.server.answer(
            "GetWorkflow",
            request,
            context,
            lambda: workflows_pb2.GetWorkflowResponse(
                workflow=self.server.workflows[request.workflow_id]
            ),
        )

    async def WatchWorkflows(
        self, request: workflows_pb2.WatchWorkflowsRequest, context: Context
    ) -> AsyncIterator[workflows_pb2.WatchWorkflowsResponse]:
        stream = self.server.follow(
            "WatchWorkflows",
            request,
            context,
            self.server.workflow_feed,
            workflows_pb2.WatchWorkflowsResponse,
            lambda workflow: {"workflow": workflow},
        )
        async for message in stream:
            yield message

    async def _known(self, workflow_id: str, context: Context) -> None:
        from tests.client.support import Failure, refuse  # noqa: PLC0415 - they know each other

        if workflow_id not in self.server.workflows:
            missing = Failure(
                grpc.StatusCode.NOT_FOUND,
                f"there is no workflow {workflow_id}",
                "WORKFLOW_NOT_FOUND",
                {"workflow_id": workflow_id},
            )
            await refuse(context, missing)

    async def _control(
        self, method: str, action: ControlAction.ValueType, request: Any, context: Context
    ) -> commands_pb2.Command:
        await self._known(request.workflow_id, context)

        def effect() -> commands_pb2.Command:
            for command in self.server.commands.values():
                if request.request_id and command.request_id == request.request_id:
                    return command
            source = self.server.workflows[request.workflow_id].source
            return self.server.request(
                action,
                request.workflow_id,
                source,
                reason=request.reason,
                request_id=request.request_id,
            )

        return await self.server.answer(method, request, context, effect)

    async def ControlWorkflow(
        self, request: workflows_pb2.ControlWorkflowRequest, context: Context
    ) -> workflows_pb2.ControlWorkflowResponse:
        command = await self._control("ControlWorkflow", request.action, request, context)
        return workflows_pb2.ControlWorkflowResponse(command=command)

    async def PauseWorkflow(
        self, request: workflows_pb2.PauseWorkflowRequest, context: Context
    ) -> workflows_pb2.PauseWorkflowResponse:
        action = ControlAction.CONTROL_ACTION_PAUSE
        return workflows_pb2.PauseWorkflowResponse(
            command=await self._control("PauseWorkflow", action, request, context)
        )

    async def ResumeWorkflow(
        self, request: workflows_pb2.ResumeWorkflowRequest, context: Context
    ) -> workflows_pb2.ResumeWorkflowResponse:
        action = ControlAction.CONTROL_ACTION_RESUME
        return workflows_pb2.ResumeWorkflowResponse(
            command=await self._control("ResumeWorkflow", action, request, context)
        )

    async def CancelWorkflow(
        self, request: workflows_pb2.CancelWorkflowRequest, context: Context
    ) -> workflows_pb2.CancelWorkflowResponse:
        action = ControlAction.CONTROL_ACTION_CANCEL
        return workflows_pb2.CancelWorkflowResponse(
            command=await self._control("CancelWorkflow", action, request, context)
        )

    async def RetryWorkflow(
        self, request: workflows_pb2.RetryWorkflowRequest, context: Context
    ) -> workflows_pb2.RetryWorkflowResponse:
        action = ControlAction.CONTROL_ACTION_RETRY
        return workflows_pb2.RetryWorkflowResponse(
            command=await self._control("RetryWorkflow", action, request, context)
        )

    async def CloseWorkflow(
        self, request: workflows_pb2.CloseWorkflowRequest, context: Context
    ) -> workflows_pb2.CloseWorkflowResponse:
        await self._known(request.workflow_id, context)
        event = events_pb2.Event(
            id=request.request_id,
            type=events_pb2.EVENT_TYPE_WORKFLOW_FAILED,
            workflow_id=request.workflow_id,
        )
        self.server.publish([event])
        return workflows_pb2.CloseWorkflowResponse(event=event)


class CommandServicer(commands_pb2_grpc.CommandServiceServicer):
    def __init__(self, server: Server) -> None:
        self.server = server

    async def ListCommands(
        self, request: commands_pb2.ListCommandsRequest, context: Context
    ) -> commands_pb2.ListCommandsResponse:
        def effect() -> commands_pb2.ListCommandsResponse:
            rows, token = page(
                list(self.server.commands.values()), request.page_size, request.page_token, 50
            )
            return commands_pb2.ListCommandsResponse(commands=rows, next_page_token=token)

        return await self.server.answer("ListCommands", request, context, effect)

    async def GetCommand(
        self, request: commands_pb2.GetCommandRequest, context: Context
    ) -> commands_pb2.GetCommandResponse:
        return await self.server.answer(
            "GetCommand",
            request,
            context,
            lambda: commands_pb2.GetCommandResponse(
                command=self.server.commands[request.command_id]
            ),
        )

    async def ListExecutors(
        self, request: commands_pb2.ListExecutorsRequest, context: Context
    ) -> commands_pb2.ListExecutorsResponse:
        return commands_pb2.ListExecutorsResponse(executors=self.server.executors.values())

    async def WatchCommands(
        self, request: commands_pb2.WatchCommandsRequest, context: Context
    ) -> AsyncIterator[commands_pb2.WatchCommandsResponse]:
        self.server.executors[request.source] = commands_pb2.Executor(
            source=request.source, capabilities=request.capabilities, connected=True
        )
        stream = self.server.follow(
            "WatchCommands",
            request,
            context,
            self.server.command_feed,
            commands_pb2.WatchCommandsResponse,
            lambda command: {"command": command},
        )
        async for message in stream:
            yield message

    async def AcceptCommand(
        self, request: commands_pb2.AcceptCommandRequest, context: Context
    ) -> commands_pb2.AcceptCommandResponse:
        await self._not_ended(request.command_id, context)

        def effect() -> commands_pb2.AcceptCommandResponse:
            command = self.server.commands[request.command_id]
            command.state = CommandState.COMMAND_STATE_ACCEPTED
            return commands_pb2.AcceptCommandResponse(command=command)

        return await self.server.answer("AcceptCommand", request, context, effect)

    async def FailCommand(
        self, request: commands_pb2.FailCommandRequest, context: Context
    ) -> commands_pb2.FailCommandResponse:
        def effect() -> commands_pb2.FailCommandResponse:
            command = self.server.commands[request.command_id]
            command.state = CommandState.COMMAND_STATE_FAILED
            command.error.CopyFrom(request.error)
            return commands_pb2.FailCommandResponse(command=command)

        return await self.server.answer("FailCommand", request, context, effect)

    async def _not_ended(self, command_id: str, context: Context) -> None:
        from tests.client.support import Failure, refuse  # noqa: PLC0415 - they know each other

        command = self.server.commands[command_id]
        if command.state in ENDED:
            ended = Failure(
                grpc.StatusCode.FAILED_PRECONDITION,
                "the command ended",
                "COMMAND_ENDED",
                {"command_id": command_id, "state": CommandState.Name(command.state)},
            )
            await refuse(context, ended)


class AgentServicer(agents_pb2_grpc.AgentServiceServicer):
    def __init__(self, server: Server) -> None:
        self.server = server

    async def DrainAgent(
        self, request: agents_pb2.DrainAgentRequest, context: Context
    ) -> agents_pb2.DrainAgentResponse:
        answer = agents_pb2.DrainAgentResponse
        return await self.server.answer("DrainAgent", request, context, answer)

    async def ActivateAgent(
        self, request: agents_pb2.ActivateAgentRequest, context: Context
    ) -> agents_pb2.ActivateAgentResponse:
        answer = agents_pb2.ActivateAgentResponse
        return await self.server.answer("ActivateAgent", request, context, answer)

    async def RestartAgent(
        self, request: agents_pb2.RestartAgentRequest, context: Context
    ) -> agents_pb2.RestartAgentResponse:
        answer = agents_pb2.RestartAgentResponse
        return await self.server.answer("RestartAgent", request, context, answer)

    async def ResizeAgent(
        self, request: agents_pb2.ResizeAgentRequest, context: Context
    ) -> agents_pb2.ResizeAgentResponse:
        answer = agents_pb2.ResizeAgentResponse
        return await self.server.answer("ResizeAgent", request, context, answer)

    async def ListAgents(
        self, request: agents_pb2.ListAgentsRequest, context: Context
    ) -> agents_pb2.ListAgentsResponse:
        def effect() -> agents_pb2.ListAgentsResponse:
            rows, token = page(self.server.agents.items, request.page_size, request.page_token, 100)
            return agents_pb2.ListAgentsResponse(agents=rows, next_page_token=token)

        return await self.server.answer("ListAgents", request, context, effect)

    async def GetAgent(
        self, request: agents_pb2.GetAgentRequest, context: Context
    ) -> agents_pb2.GetAgentResponse:
        found = next(each for each in self.server.agents.items if each.id == request.agent_id)
        return agents_pb2.GetAgentResponse(agent=found)

    async def WatchAgents(
        self, request: agents_pb2.WatchAgentsRequest, context: Context
    ) -> AsyncIterator[agents_pb2.WatchAgentsResponse]:
        stream = self.server.follow(
            "WatchAgents",
            request,
            context,
            self.server.agents,
            agents_pb2.WatchAgentsResponse,
            lambda agent: {"agent": agent},
        )
        async for message in stream:
            yield message
