"""Commands on agents and on all that the engine starts, each done once."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.executor import CommandRefused, Executor
from pilothouse.v1.commands_pb2 import Command, CommandBoundary, CommandScope
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse_server.demo.fleet import Fleet
from pilothouse_server.demo.holds import Holds
from pilothouse_server.demo.journal import Hold

STEP = CommandBoundary.COMMAND_BOUNDARY_STEP
NOW = CommandBoundary.COMMAND_BOUNDARY_IMMEDIATE


class Orders:
    """`is_to_do` says whether a command has not been applied yet."""

    def __init__(self, fleet: Fleet, holds: Holds, is_to_do: Callable[[Command], bool]) -> None:
        self._fleet = fleet
        self._holds = holds
        self._is_to_do = is_to_do

    def register(self, executor: Executor) -> None:
        """Declare what can be done, and do it when asked. What lets work in hand be finished acts at a step."""
        for action, boundary in (
            (ControlAction.CONTROL_ACTION_DRAIN, STEP),
            (ControlAction.CONTROL_ACTION_ACTIVATE, NOW),
            (ControlAction.CONTROL_ACTION_RESTART, STEP),
            (ControlAction.CONTROL_ACTION_RESIZE, NOW),
        ):
            scope = CommandScope.COMMAND_SCOPE_POOL
            executor.on(action, scope=scope, boundary=boundary)(self._on_agent)
        for action, boundary in (
            (ControlAction.CONTROL_ACTION_PAUSE, STEP),
            (ControlAction.CONTROL_ACTION_RESUME, NOW),
        ):
            scope = CommandScope.COMMAND_SCOPE_FLEET
            executor.on(action, scope=scope, boundary=boundary, selective=True)(self._on_all)

    def _on_agent(self, command: Command) -> None:
        if not self._is_to_do(command):
            return
        fleet, agent_id = self._fleet, command.agent_id
        match command.action:
            case ControlAction.CONTROL_ACTION_DRAIN:
                fleet.drain(agent_id, command.id)
            case ControlAction.CONTROL_ACTION_ACTIVATE:
                fleet.activate(agent_id, command.id)
            case ControlAction.CONTROL_ACTION_RESTART:
                fleet.restart(agent_id, command.id)
            case ControlAction.CONTROL_ACTION_RESIZE:
                fleet.resize(agent_id, command.pool_size, command.id)
            case other:
                raise CommandRefused("UNSUPPORTED", f"{other} is not done to agents")

    def _on_all(self, command: Command) -> None:
        if not self._is_to_do(command):
            return
        hold = Hold(command.workflow_type, command.agent_type)
        if command.action == ControlAction.CONTROL_ACTION_PAUSE:
            self._holds.pause(hold, command.id)
        else:
            self._holds.resume(hold, command.id)
