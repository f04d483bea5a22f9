"""What an engine can do when asked, and the handlers that do it: one for each action and what it is done to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from pilothouse.v1.commands_pb2 import Capability, Command, CommandBoundary, CommandScope
from pilothouse.v1.enums_pb2 import ControlAction

Handler = Callable[[Command], Awaitable[None] | None]
"""Does a command. Returning means that it was taken; an exception, that it cannot be done."""

H = TypeVar("H", bound=Handler)

Key = tuple[ControlAction.ValueType, CommandScope.ValueType]

_RUN = CommandScope.COMMAND_SCOPE_RUN
_QUEUE = CommandScope.COMMAND_SCOPE_QUEUE
_POOL = CommandScope.COMMAND_SCOPE_POOL
_FLEET = CommandScope.COMMAND_SCOPE_FLEET

ACTIONS: Mapping[CommandScope.ValueType, tuple[ControlAction.ValueType, ...]] = {
    _RUN: (
        ControlAction.CONTROL_ACTION_PAUSE,
        ControlAction.CONTROL_ACTION_RESUME,
        ControlAction.CONTROL_ACTION_CANCEL,
        ControlAction.CONTROL_ACTION_RETRY,
    ),
    _QUEUE: (ControlAction.CONTROL_ACTION_PAUSE, ControlAction.CONTROL_ACTION_RESUME),
    _POOL: (
        ControlAction.CONTROL_ACTION_DRAIN,
        ControlAction.CONTROL_ACTION_ACTIVATE,
        ControlAction.CONTROL_ACTION_RESTART,
        ControlAction.CONTROL_ACTION_RESIZE,
    ),
    _FLEET: (ControlAction.CONTROL_ACTION_PAUSE, ControlAction.CONTROL_ACTION_RESUME),
}
"""What can be asked for, by what it is asked of."""


class Unable(Exception):
    """What a command asks for is not there; the words say what."""


class Abilities:
    """The capabilities of one executor, in the order in which they were declared."""

    def __init__(self, declared: Iterable[Capability]) -> None:
        self._capabilities: dict[Key, Capability] = {}
        self._handlers: dict[Key, Handler] = {}
        for capability in declared:
            self._capabilities[_key(capability.action, capability.scope)] = capability

    def __iter__(self) -> Iterator[Capability]:
        return iter(self._capabilities.values())

    @property
    def handled(self) -> bool:
        """Whether there are handlers."""
        return bool(self._handlers)

    def knows(self, action: ControlAction.ValueType, scope: CommandScope.ValueType) -> bool:
        """Whether this was declared."""
        return _key(action, scope) in self._capabilities

    def declare(
        self,
        action: ControlAction.ValueType,
        scope: CommandScope.ValueType,
        boundary: CommandBoundary.ValueType,
        selective: bool,
    ) -> None:
        """Add one. Raises ValueError for what nobody can ask for."""
        key = _key(action, scope)
        if action not in ACTIONS[key[1]]:
            places = [_scope_name(each) for each, actions in ACTIONS.items() if action in actions]
            raise ValueError(
                f"{_action_name(action)} is asked of a {' or a '.join(places) or 'nothing'},"
                f" not of a {_scope_name(key[1])}: say scope="
            )
        if selective and key[1] != _FLEET:
            raise ValueError("selective= is for the scope FLEET")
        self._capabilities[key] = Capability(
            action=action, scope=key[1], boundary=boundary, selective=selective
        )

    def handle(
        self, action: ControlAction.ValueType, scope: CommandScope.ValueType, handler: Handler
    ) -> None:
        """From now on `handler` does it."""
        self._handlers[_key(action, scope)] = handler

    def handler_of(self, command: Command) -> Handler:
        """What does `command`. Raises Unable.

        The server offers only what was declared; whatever else comes must not be done to more than was asked.
        """
        key = _key(command.action, command.scope)
        handler = self._handlers.get(key)
        if handler is None:
            name = _action_name(command.action)
            raise Unable(f"this engine cannot do {name} to a {_scope_name(key[1])}")
        narrowed = command.workflow_type or command.agent_type
        if key[1] == _FLEET and narrowed and not self._capabilities[key].selective:
            raise Unable("this engine can do that only to all that it runs, not to one type")
        return handler


def _key(action: ControlAction.ValueType, scope: CommandScope.ValueType) -> Key:
    # Engines and servers of before there were scopes state none.
    return action, scope or _RUN


def _action_name(action: ControlAction.ValueType) -> str:
    name = dict(zip(ControlAction.values(), ControlAction.keys(), strict=True)).get(action)
    return name.removeprefix("CONTROL_ACTION_") if name else f"action {action}"


def _scope_name(scope: CommandScope.ValueType) -> str:
    name = dict(zip(CommandScope.values(), CommandScope.keys(), strict=True)).get(scope)
    return name.removeprefix("COMMAND_SCOPE_") if name else f"scope {scope}"
