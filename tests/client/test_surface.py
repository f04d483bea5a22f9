"""What the package promises: its names and its commands. A change here is a change for its users."""

from __future__ import annotations

import subprocess
import sys

import pilothouse
from pilothouse import aio, errors, executor
from pilothouse.cli import contract
from pilothouse.errors import CallError, PilothouseError


def test_the_names_of_the_package() -> None:
    assert sorted(pilothouse.__all__) == [
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
    for name in pilothouse.__all__:
        assert getattr(pilothouse, name) is not None


def test_the_names_of_the_asyncio_client_and_the_executor() -> None:
    assert sorted(aio.__all__) == [
        "AlertHandle",
        "Client",
        "CommandHandle",
        "RuleHandle",
        "Watch",
        "WorkflowHandle",
    ]
    assert sorted(executor.__all__) == [
        "BufferFull",
        "Capability",
        "CommandRefused",
        "Executor",
        "ExecutorOptions",
        "ExecutorReplaced",
        "ExecutorStats",
        "NotDelivered",
        "ReportedAgent",
        "ReportedQueue",
        "StageRun",
        "TaskRun",
        "WorkflowRun",
    ]


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    for name in aio.__all__:
        assert public(getattr(aio, name)) == public(getattr(pilothouse, name)), name


def test_every_error_of_the_package_has_one_base() -> None:
    kinds = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, Exception)
    ]
    own = [each for each in kinds if each.__module__ == errors.__name__]
    assert len(own) > 20
    assert all(issubclass(each, PilothouseError) for each in own)
    drawn = errors.__doc__ or ""
    assert [each.__name__ for each in own if each.__name__ not in drawn] == []
    assert set(errors.BY_REASON.values()) <= {each for each in own if issubclass(each, CallError)}


def test_the_commands_of_the_contract() -> None:
    assert {group: list(commands) for group, commands in contract.groups().items()} == {
        "agents": ["list", "get", "watch", "drain", "activate", "restart", "resize"],
        "alerts": [
            "list", "get", "watch", "acknowledge", "resolve", "unacknowledge", "assign", "comment",
        ],
        "audit": ["list-entries", "verify", "export"],
        "batches": [
            "create", "start", "stop", "continue", "abandon", "get", "list", "list-items", "watch",
        ],
        "budgets": ["list", "get", "create", "update", "delete"],
        "channels": ["create", "list", "get", "update", "delete", "test"],
        "commands": ["list", "get", "list-executors", "watch", "accept", "fail"],
        "config": ["get", "update", "list-versions", "diff", "restore", "watch"],
        "deliveries": ["list", "get", "retry", "drop"],
        "emergency-stops": [
            "preview", "start", "escalate", "release", "get", "list", "list-targets", "watch",
        ],
        "escalations": ["create", "list", "get", "update", "delete"],
        "events": [
            "publish", "publish-events", "publish-stream", "list", "get", "count", "export", "watch",
        ],
        "events dead": ["list", "retry", "drop"],
        "heartbeats": ["set", "beat", "list", "delete"],
        "metrics": ["get", "watch", "query"],
        "platform": ["get-server-status"],
        "queues": ["list", "pause", "resume"],
        "rules": [
            "list", "get", "create", "update", "delete", "enable", "disable", "list-versions", "diff", "restore",
            "backtest", "import", "export",
        ],
        "silences": ["create", "list", "get", "expire", "preview"],
        "traces": ["list", "get", "watch", "export", "analyze", "compare", "aggregate"],
        "workflows": [
            "list", "get", "watch", "control", "pause", "resume", "cancel", "retry", "close",
        ],
    }  # fmt: skip


def test_every_command_and_every_field_has_a_comment_in_the_contract() -> None:
    every = [command for commands in contract.groups().values() for command in commands.values()]
    fields = [field for command in every for field in contract.fields(command.method.input_type)]
    assert [each.path for each in every if not contract.comment(each.method)] == []
    assert [field.full_name for field in fields if not contract.comment(field)] == []


def test_help_loads_no_grpc() -> None:
    program = (
        "import sys; from pilothouse.cli.app import invoke; invoke(['workflows', '--help']);"
        "heavy = {'grpc', 'rich.console', 'yaml', 'asyncio'} & set(sys.modules);"
        "sys.exit(f'loaded for help: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
