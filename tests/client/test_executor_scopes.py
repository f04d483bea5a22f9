"""An executor is asked about runs, queues, agents and all that it runs, each by a handler of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilothouse.executor import Executor, ExecutorOptions
from pilothouse.v1.commands_pb2 import (
    COMMAND_BOUNDARY_IMMEDIATE,
    COMMAND_BOUNDARY_STEP,
    COMMAND_SCOPE_FLEET,
    COMMAND_SCOPE_POOL,
    COMMAND_SCOPE_QUEUE,
    COMMAND_SCOPE_RUN,
    COMMAND_SCOPE_UNSPECIFIED,
    COMMAND_STATE_EFFECTIVE,
    COMMAND_STATE_FAILED,
    Capability,
    Command,
    CommandScope,
)
from pilothouse.v1.enums_pb2 import (
    CONTROL_ACTION_ACTIVATE,
    CONTROL_ACTION_DRAIN,
    CONTROL_ACTION_PAUSE,
    CONTROL_ACTION_RESIZE,
    CONTROL_ACTION_RESTART,
    CONTROL_ACTION_RETRY,
    ControlAction,
)
from pilothouse.v1.events_pb2 import Event, EventType
from pilothouse.watching import WatchOptions
from tests.client.support import Server
from tests.support import wait_until

QUICK = ExecutorOptions(
    max_delay=0.05,
    close_timeout=30,
    call_timeout=30,
    watch=WatchOptions(max_delay=0.05, silence=30),
)


def executor_of(server: Server, *capabilities: Capability) -> Executor:
    return Executor(server.target, source="engine", capabilities=capabilities, options=QUICK)


def nothing(command: Command) -> None:
    """A handler that takes a command and does nothing about it."""


async def test_the_same_action_has_a_handler_for_each_scope(server: Server) -> None:
    executor = executor_of(server)
    taken: list[tuple[str, str]] = []

    def handler(name: str) -> Callable[[Command], None]:
        def take(command: Command) -> None:
            taken.append((name, command.queue or command.workflow_id or command.workflow_type))

        return take

    executor.on(CONTROL_ACTION_PAUSE)(handler("run"))
    executor.on(CONTROL_ACTION_PAUSE, scope=COMMAND_SCOPE_QUEUE)(handler("queue"))
    executor.on(CONTROL_ACTION_PAUSE, scope=COMMAND_SCOPE_FLEET, selective=True)(handler("fleet"))
    async with executor:
        server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine", scope=COMMAND_SCOPE_RUN)
        server.request(CONTROL_ACTION_PAUSE, "wf-2", "engine")
        server.request(CONTROL_ACTION_PAUSE, "", "engine", scope=COMMAND_SCOPE_QUEUE, queue="mail")
        server.request(
            CONTROL_ACTION_PAUSE, "", "engine", scope=COMMAND_SCOPE_FLEET, workflow_type="nightly"
        )
        await wait_until(lambda: len(taken) == 4)
    assert sorted(taken) == [
        ("fleet", "nightly"), ("queue", "mail"), ("run", "wf-1"), ("run", "wf-2"),
    ]  # fmt: skip


async def test_each_capability_is_declared_with_its_scope(server: Server) -> None:
    executor = executor_of(
        server,
        Capability(action=CONTROL_ACTION_RESIZE, scope=COMMAND_SCOPE_POOL),
        Capability(action=CONTROL_ACTION_RETRY),
    )
    executor.on(
        CONTROL_ACTION_RESIZE, scope=COMMAND_SCOPE_POOL, boundary=COMMAND_BOUNDARY_IMMEDIATE
    )(nothing)
    executor.on(CONTROL_ACTION_RETRY)(nothing)
    executor.on(CONTROL_ACTION_PAUSE)(nothing)
    executor.on(CONTROL_ACTION_PAUSE, scope=COMMAND_SCOPE_FLEET, selective=True)(nothing)
    async with executor:
        await wait_until(lambda: server.executors)
    assert list(server.executors["engine"].capabilities) == [
        # What the constructor was given stays as it was given.
        Capability(action=CONTROL_ACTION_RESIZE, scope=COMMAND_SCOPE_POOL),
        Capability(action=CONTROL_ACTION_RETRY),
        Capability(
            action=CONTROL_ACTION_PAUSE, scope=COMMAND_SCOPE_RUN, boundary=COMMAND_BOUNDARY_STEP
        ),
        Capability(
            action=CONTROL_ACTION_PAUSE,
            scope=COMMAND_SCOPE_FLEET,
            boundary=COMMAND_BOUNDARY_STEP,
            selective=True,
        ),
    ]


@pytest.mark.parametrize(
    ("action", "scope", "selective", "words"),
    [
        (CONTROL_ACTION_DRAIN, COMMAND_SCOPE_RUN, False, "DRAIN is asked of a POOL, not of a RUN"),
        (CONTROL_ACTION_RETRY, COMMAND_SCOPE_FLEET, False, "RETRY is asked of a RUN"),
        (CONTROL_ACTION_PAUSE, COMMAND_SCOPE_POOL, False, "a RUN or a QUEUE or a FLEET"),
        (CONTROL_ACTION_PAUSE, COMMAND_SCOPE_QUEUE, True, "selective= is for the scope FLEET"),
    ],
)
def test_what_nobody_can_ask_for_cannot_be_declared(
    action: ControlAction.ValueType, scope: CommandScope.ValueType, selective: bool, words: str
) -> None:
    executor = Executor(source="engine")
    with pytest.raises(ValueError, match=words):
        executor.on(action, scope=scope, selective=selective)(nothing)


@pytest.mark.parametrize(
    ("scope", "fields", "words"),
    [
        (COMMAND_SCOPE_QUEUE, {"queue": "mail"}, "this engine cannot do PAUSE to a QUEUE"),
        (COMMAND_SCOPE_FLEET, {"workflow_type": "nightly"}, "not to one type"),
        (COMMAND_SCOPE_FLEET, {"agent_type": "tester"}, "not to one type"),
    ],
)
async def test_a_command_is_not_done_to_more_than_was_asked(
    server: Server, scope: CommandScope.ValueType, fields: dict[str, str], words: str
) -> None:
    executor = executor_of(server)
    taken: list[Command] = []
    executor.on(CONTROL_ACTION_PAUSE)(taken.append)
    executor.on(CONTROL_ACTION_PAUSE, scope=COMMAND_SCOPE_FLEET)(taken.append)
    async with executor:
        command = server.request(CONTROL_ACTION_PAUSE, "", "engine", scope=scope, **fields)
        await wait_until(lambda: command.state == COMMAND_STATE_FAILED)
    assert command.error.code == "UNSUPPORTED"
    assert words in command.error.message
    assert taken == []


async def test_an_action_that_is_not_known_yet_is_refused_by_its_number(server: Server) -> None:
    executor = executor_of(server)
    executor.on(CONTROL_ACTION_PAUSE)(nothing)
    newer: Any = 99
    async with executor:
        command = server.request(newer, "wf-1", "engine", scope=COMMAND_SCOPE_UNSPECIFIED)
        await wait_until(lambda: command.state == COMMAND_STATE_FAILED)
    assert command.error.message == "this engine cannot do action 99 to a RUN"


async def test_commands_on_agents_and_on_everything_are_effective_by_what_the_engine_reports(
    server: Server,
) -> None:
    executor = executor_of(server)
    agent = executor.agent("a-1", agent_type="builder", capacity=2, heartbeat_every=10)
    pool = COMMAND_SCOPE_POOL

    @executor.on(CONTROL_ACTION_RESIZE, scope=pool)
    @executor.on(CONTROL_ACTION_RESTART, scope=pool)
    @executor.on(CONTROL_ACTION_ACTIVATE, scope=pool)
    @executor.on(CONTROL_ACTION_DRAIN, scope=pool)
    def obey(command: Command) -> None:
        match command.action:
            case ControlAction.CONTROL_ACTION_DRAIN:
                agent.draining(command=command)
            case ControlAction.CONTROL_ACTION_ACTIVATE:
                agent.activated(command)
            case ControlAction.CONTROL_ACTION_RESIZE:
                agent.resized(command.pool_size, command=command)
            case _:
                agent.offline("an operator restarts it")
                agent.registered(command=command)

    @executor.on(CONTROL_ACTION_PAUSE, scope=COMMAND_SCOPE_FLEET, selective=True)
    def hold(command: Command) -> None:
        executor.queue(agent_type=command.agent_type).paused(command)

    async def answer(action: ControlAction.ValueType, **fields: Any) -> Event:
        """What the engine reported when it was asked."""
        command = server.request(action, "", "engine", **fields)
        await wait_until(lambda: command.state == COMMAND_STATE_EFFECTIVE)
        return next(each for each in server.log.items if each.command_id == command.id)

    async with executor:
        drained = await answer(CONTROL_ACTION_DRAIN, scope=pool, agent_id="a-1")
        activated = await answer(CONTROL_ACTION_ACTIVATE, scope=pool, agent_id="a-1")
        restarted = await answer(CONTROL_ACTION_RESTART, scope=pool, agent_id="a-1")
        resized = await answer(CONTROL_ACTION_RESIZE, scope=pool, agent_id="a-1", pool_size=5)
        held = await answer(CONTROL_ACTION_PAUSE, scope=COMMAND_SCOPE_FLEET, agent_type="builder")
    assert drained.type == EventType.EVENT_TYPE_AGENT_DRAINING
    assert activated.type == restarted.type == EventType.EVENT_TYPE_AGENT_REGISTERED
    assert resized.load.capacity == 5
    assert (held.queue, held.agent_type) == ("", "builder")
