"""An executor's commands: each taken once, whatever the stream does, and answered."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace

import grpc
import pytest

from pilothouse.errors import ExecutorReplaced
from pilothouse.executor import CommandRefused, Executor, ExecutorOptions
from pilothouse.v1.commands_pb2 import (
    COMMAND_BOUNDARY_IMMEDIATE,
    COMMAND_STATE_ACCEPTED,
    COMMAND_STATE_EFFECTIVE,
    COMMAND_STATE_FAILED,
    Capability,
    Command,
)
from pilothouse.v1.enums_pb2 import (
    CONTROL_ACTION_CANCEL,
    CONTROL_ACTION_PAUSE,
    CONTROL_ACTION_RESUME,
)
from pilothouse.watching import WatchOptions
from tests.client.support import Failure, Server
from tests.support import wait_until

QUICK = ExecutorOptions(
    max_delay=0.05,
    close_timeout=30,
    call_timeout=30,
    watch=WatchOptions(max_delay=0.05, silence=30),
)
"""Quick to try again, and patient: what a test counts must not depend on how busy the machine is."""


def executor_of(server: Server, options: ExecutorOptions = QUICK) -> tuple[Executor, list[str]]:
    """An executor that pauses, and the ids of the commands that its engine saw."""
    executor = Executor(server.target, source="engine", options=options)
    seen: list[str] = []

    @executor.on(CONTROL_ACTION_PAUSE)
    async def pause(command: Command) -> None:
        seen.append(command.id)

    return executor, seen


def nothing(command: Command) -> None:
    """A handler that takes a command and does nothing about it."""


async def test_a_command_is_accepted_before_the_engine_sees_it(server: Server) -> None:
    executor = Executor(server.target, source="engine", options=QUICK)
    states: list[int] = []

    @executor.on(CONTROL_ACTION_PAUSE)
    def pause(command: Command) -> None:
        states.append(server.commands[command.id].state)

    async with executor:
        server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine")
        await wait_until(lambda: states)
    assert states == [COMMAND_STATE_ACCEPTED]


async def test_a_command_is_effective_once_the_engine_reports_it(server: Server) -> None:
    executor = Executor(server.target, source="engine", options=QUICK)
    run = executor.workflow("wf-1")

    @executor.on(CONTROL_ACTION_PAUSE)
    async def pause(command: Command) -> None:
        run.paused(command)

    async with executor:
        command = server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine")
        await wait_until(lambda: command.state == COMMAND_STATE_EFFECTIVE)


async def test_what_is_registered_is_declared(server: Server) -> None:
    executor = Executor(server.target, source="engine", options=QUICK)
    executor.on(CONTROL_ACTION_CANCEL, boundary=COMMAND_BOUNDARY_IMMEDIATE)(nothing)
    async with executor:
        await wait_until(lambda: server.executors)
    declared = server.executors["engine"].capabilities
    assert [(each.action, each.boundary) for each in declared] == [
        (CONTROL_ACTION_CANCEL, COMMAND_BOUNDARY_IMMEDIATE)
    ]


async def test_broken_streams_lose_and_repeat_no_command(server: Server) -> None:
    executor, seen = executor_of(server)
    async with executor:
        asked: list[str] = []
        for number in range(30):
            asked.append(server.request(CONTROL_ACTION_PAUSE, f"wf-{number}", "engine").id)
            if number % 5 == 4:
                await wait_until(lambda: len(server.requests("WatchCommands")) > 0)
                streams = len(server.requests("WatchCommands"))
                server.break_streams()
                await wait_until(lambda: len(server.requests("WatchCommands")) > streams)  # noqa: B023
        await wait_until(lambda: len(seen) == 30, what="30 commands")
    assert sorted(seen) == sorted(asked)


async def test_a_command_that_the_server_repeats_is_done_once(server: Server) -> None:
    server.faults.repeat = True
    executor, seen = executor_of(server)
    async with executor:
        for number in range(5):
            server.request(CONTROL_ACTION_PAUSE, f"wf-{number}", "engine")
        await wait_until(lambda: len(set(seen)) == 5)
        server.command_feed.lose_history()
        server.break_streams()
        await wait_until(lambda: len(server.requests("WatchCommands")) == 2)
        last = server.request(CONTROL_ACTION_PAUSE, "wf-last", "engine")
        await wait_until(lambda: last.id in seen)
    assert len(seen) == 6


async def test_a_command_that_ended_meanwhile_is_skipped(server: Server) -> None:
    executor, seen = executor_of(server)
    dead = server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine")
    dead.state = COMMAND_STATE_FAILED
    async with executor:
        alive = server.request(CONTROL_ACTION_PAUSE, "wf-2", "engine")
        await wait_until(lambda: seen)
    assert seen == [alive.id]


async def test_accepting_is_tried_again_until_it_gets_through(server: Server) -> None:
    server.fail("AcceptCommand", Failure(), Failure(when="after"), Failure())
    executor, seen = executor_of(server)
    async with executor:
        command = server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine")
        await wait_until(lambda: seen)
    assert seen == [command.id]
    assert len(server.requests("AcceptCommand")) == 4


async def test_accepting_stops_when_the_command_has_expired(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.fail("AcceptCommand", *[Failure()] * 1_000)
    executor, seen = executor_of(server)
    async with executor:
        command = Command(
            id="c-1", action=CONTROL_ACTION_PAUSE, workflow_id="wf-1", source="engine"
        )
        command.expire_time.FromNanoseconds(time.time_ns() + 200_000_000)
        server.commands[command.id] = command
        server.command_feed.add(command)
        await wait_until(lambda: server.requests("AcceptCommand"))
        await wait_until(lambda: "was not taken" in caplog.text)
    assert seen == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (CommandRefused("UNKNOWN_RUN", "not here", retryable=True), "UNKNOWN_RUN", "not here"),
        (RuntimeError("boom"), "RuntimeError", "boom"),
        (KeyError(), "KeyError", "KeyError()"),
    ],
)
async def test_a_handler_that_raises_fails_the_command(
    server: Server, error: Exception, code: str, message: str
) -> None:
    executor = Executor(server.target, source="engine", options=QUICK)

    @executor.on(CONTROL_ACTION_PAUSE)
    async def pause(command: Command) -> None:
        raise error

    async with executor:
        command = server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine")
        await wait_until(lambda: command.state == COMMAND_STATE_FAILED)
    assert (command.error.code, command.error.message) == (code, message)
    assert command.error.retryable == getattr(error, "retryable", False)


async def test_a_command_without_a_handler_is_failed(server: Server) -> None:
    executor, _ = executor_of(server)
    async with executor:
        command = server.request(CONTROL_ACTION_RESUME, "wf-1", "engine")
        await wait_until(lambda: command.state == COMMAND_STATE_FAILED)
    assert command.error.code == "UNSUPPORTED"


async def test_a_slow_handler_delays_no_other(server: Server) -> None:
    executor = Executor(server.target, source="engine", options=QUICK)
    release = asyncio.Event()
    done: list[str] = []

    @executor.on(CONTROL_ACTION_PAUSE)
    async def pause(command: Command) -> None:
        await release.wait()

    @executor.on(CONTROL_ACTION_CANCEL)
    async def cancel(command: Command) -> None:
        done.append(command.workflow_id)

    async with executor:
        server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine")
        server.request(CONTROL_ACTION_CANCEL, "wf-1", "engine")
        await wait_until(lambda: done)
        release.set()


async def test_commands_can_be_read_instead(server: Server) -> None:
    pause = Capability(action=CONTROL_ACTION_PAUSE)
    executor = Executor(server.target, source="engine", capabilities=[pause], options=QUICK)
    async with executor:
        good = server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine")
        async with aclosing(executor.commands()) as commands:
            async for command in commands:
                await executor.refuse(command, "NO", "not today")
                break
        await wait_until(lambda: good.state == COMMAND_STATE_FAILED)
    assert good.error.message == "not today"


async def test_a_capability_cannot_be_declared_after_the_fact(server: Server) -> None:
    executor, _ = executor_of(server)
    async with executor:
        with pytest.raises(RuntimeError, match="declare the capability before"):
            executor.on(CONTROL_ACTION_CANCEL)(nothing)


async def test_a_refused_command_stream_does_not_end_the_engine(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.fail("WatchCommands", Failure(grpc.StatusCode.PERMISSION_DENIED, "you are a viewer"))
    executor, _ = executor_of(server)
    async with executor:
        await wait_until(lambda: "you are a viewer" in caplog.text)
        run = executor.workflow("wf-1")
        run.started()
        await executor.flush(30)
    assert "wf-1" in server.workflows


async def test_an_executor_that_was_replaced_takes_no_more_and_still_reports(
    server: Server,
) -> None:
    replaced = Failure(grpc.StatusCode.ABORTED, "a newer stream took over", "EXECUTOR_REPLACED")
    server.fail("WatchCommands", replaced)
    executor, _ = executor_of(server)
    async with executor:
        await wait_until(lambda: executor.replaced)
        executor.workflow("wf-1").started()
        await executor.flush(30)
    assert len(server.requests("WatchCommands")) == 1
    assert "wf-1" in server.workflows


async def test_reading_commands_ends_when_another_executor_takes_over(server: Server) -> None:
    server.fail("WatchCommands", Failure(grpc.StatusCode.ABORTED, "taken", "EXECUTOR_REPLACED"))
    async with Executor(server.target, source="engine", options=QUICK) as executor:
        with pytest.raises(ExecutorReplaced):
            await anext(executor.commands())


async def test_a_half_open_command_stream_is_opened_again(server: Server) -> None:
    soon = replace(QUICK, watch=WatchOptions(max_delay=0.05, silence=0.5))
    executor, seen = executor_of(server, soon)
    async with executor:
        await wait_until(lambda: server.requests("WatchCommands"))
        server.faults.stall = True
        await wait_until(lambda: len(server.requests("WatchCommands")) > 1)
        server.faults.stall = False
        command = server.request(CONTROL_ACTION_PAUSE, "wf-1", "engine")
        await wait_until(lambda: seen)
    assert seen == [command.id]
