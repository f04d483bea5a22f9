"""Client, command line and executor SDK of Pilothouse.

What is named here is the public surface, with the generated messages in `pilothouse.v1`. Names are imported when they
are first used: importing a generated message, or starting the command line, does not load a gRPC client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilothouse import aio, errors, executor
    from pilothouse._channel import Tls
    from pilothouse.client import (
        AlertHandle,
        Client,
        CommandHandle,
        RuleHandle,
        Watch,
        WorkflowHandle,
    )
    from pilothouse.errors import CallError, PilothouseError
    from pilothouse.executor import Executor, ExecutorOptions
    from pilothouse.retry import RetryPolicy
    from pilothouse.watching import CaughtUp, Item, Reset, WatchOptions

_HOMES = {
    "AlertHandle": "client",
    "CallError": "errors",
    "CaughtUp": "watching",
    "Client": "client",
    "CommandHandle": "client",
    "Executor": "executor",
    "ExecutorOptions": "executor",
    "Item": "watching",
    "PilothouseError": "errors",
    "Reset": "watching",
    "RetryPolicy": "retry",
    "RuleHandle": "client",
    "Tls": "_channel",
    "Watch": "client",
    "WatchOptions": "watching",
    "WorkflowHandle": "client",
}
_MODULES = ("aio", "errors", "executor")

__all__ = [
    "AlertHandle",
    "CallError",
    "CaughtUp",
    "Client",
    "CommandHandle",
    "Executor",
    "ExecutorOptions",
    "Item",
    "PilothouseError",
    "Reset",
    "RetryPolicy",
    "RuleHandle",
    "Tls",
    "Watch",
    "WatchOptions",
    "WorkflowHandle",
    "aio",
    "errors",
    "executor",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"pilothouse.{name}")
    if name in _HOMES:
        value: object = getattr(importlib.import_module(f"pilothouse.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'pilothouse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
