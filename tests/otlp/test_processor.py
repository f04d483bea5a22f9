"""The span processor of the Python client: work is seen while it runs, and the application never notices."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Tracer

from pilothouse.otel import PilothouseSpanProcessor, SpanOptions
from tests.e2e.support import Pilothouse
from tests.otlp.conftest import PATIENCE, Station
from tests.otlp.test_exporters import operation, provided
from tests.support import free_port, wait_until

on_server = pytest.mark.asyncio(loop_scope="package")

pytestmark = pytest.mark.timeout(180)

NOBODY = SpanOptions(max_queue=3, max_batch=2, max_running=2)


@on_server
async def test_running_work_is_seen_within_a_second(station: Station) -> None:
    processor = PilothouseSpanProcessor(station.server.grpc)
    with provided(station, processor) as provider:
        tracer = provider.get_tracer("live")
        agent = operation("invoke_agent", f"agent of {station.service}")
        root = tracer.start_span("answer", attributes=agent)
        running = await station.workflow("RUNNING")
        assert running["workflow_type"] == f"agent of {station.service}"
        # One, and what a busy machine takes: of several the best, or it would be the machine that is measured.
        waited = [await seen_after(station, tracer, f"{number}") for number in range(5)]
        assert min(waited) < 2, waited
        path = f'/api/v1/agents?filter=id="agent of {station.service}"'
        (seen,) = (await station.server.get(path))["agents"]
        assert seen["state"] == "AGENT_STATE_BUSY"
        root.end()
        await station.workflow("COMPLETED")
        assert await asyncio.to_thread(processor.force_flush)
    assert (processor.stats.sent, processor.stats.refused, processor.stats.running) == (6, 0, 0)


async def seen_after(station: Station, tracer: Tracer, name: str) -> float:
    """Seconds from the beginning of a run of this name to when it is shown as running."""
    named = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": name}
    path = (
        f'/api/v1/workflows?filter=source="{station.service}" AND type="{name}" AND state=RUNNING'
    )
    begin = time.monotonic()
    root = tracer.start_span("run", attributes=named)

    async def seen() -> bool:
        return bool((await station.server.get(path))["workflows"])

    await wait_until(seen, within=PATIENCE, what=f"{name} runs")
    waited = time.monotonic() - begin
    root.end()
    return waited


@on_server
async def test_a_span_that_ends_at_once_is_sent_once(station: Station) -> None:
    with provided(station, PilothouseSpanProcessor(station.server.grpc)) as provider:
        for _ in range(1200):
            provider.get_tracer("many").start_span("short").end()

    events = await station.events(1000)
    assert {event["type"] for event in events} == {"EVENT_TYPE_SPAN_ENDED"}


@on_server
async def test_what_runs_for_long_says_that_it_is_alive(station: Station) -> None:
    options = SpanOptions(heartbeat=0.3)
    with provided(
        station, PilothouseSpanProcessor(station.server.grpc, options=options)
    ) as provider:
        long_ago = time.time_ns() - 60 * 10**9
        running = provider.get_tracer("long").start_span("import", start_time=long_ago)
        # Its start, and of all its signs of life one in half a minute.
        beats = await station.events(2)
        assert {event["type"] for event in beats} == {"EVENT_TYPE_SPAN_STARTED"}
        assert all(event["attributes"]["pilothouse.heartbeat"] for event in beats)
        assert len({event["occur_time"] for event in beats}) == 1
        running.end()

    async def types() -> set[str]:
        found = await station.types()
        return found if "SPAN_ENDED" in found else set()

    # Another sign of life may come before the end, when the next half of a minute begins.
    assert await wait_until(types, within=PATIENCE) == {"SPAN_STARTED", "SPAN_ENDED"}


PROGRAM = """
    import sys, time
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from pilothouse.otel import PilothouseSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": sys.argv[2]}))
    provider.add_span_processor(PilothouseSpanProcessor(sys.argv[1]))
    named = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.agent.name": "killed"}
    with provider.get_tracer("killed").start_as_current_span("run", attributes=named):
        time.sleep(60)
"""


@on_server
async def test_of_a_process_that_is_killed_the_last_sign_of_life_is_known(station: Station) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(PROGRAM), station.server.grpc, station.service
    )
    try:
        await station.workflow("RUNNING")
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    (start,) = await station.events()
    assert int(start["attributes"]["pilothouse.heartbeat"]) > 0
    await station.workflow("RUNNING")  # nobody said that it ended, and nothing is invented


async def test_while_the_server_is_away_spans_are_kept_and_sent_when_it_is_back(
    tmp_path: Path,
) -> None:
    server = Pilothouse(tmp_path / "data")
    station = Station(server, "away")
    with provided(station, PilothouseSpanProcessor(server.grpc)) as provider:
        provider.get_tracer("away").start_span("before").end()
        try:
            await server.start(within=90)
            (event,) = await station.events()
            assert event["message"] == "before"
        finally:
            await server.stop()


def odd_name(tracer: Tracer) -> None:
    tracer.start_span("no text \ud800").end()


def odd_value(tracer: Tracer) -> None:
    tracer.start_span("odd", attributes={"no": "\ud800"}).end()


def large_ones(tracer: Tracer) -> None:
    for _ in range(30):
        tracer.start_span("large", attributes={"content": "x" * 500_000}).end()


def larger_one(tracer: Tracer) -> None:
    tracer.start_span("too large", attributes={"content": "x" * 5_000_000}).end()


@on_server
@pytest.mark.parametrize(
    ("make", "refused"), [(odd_name, 1), (odd_value, 0), (large_ones, 0), (larger_one, 1)]
)
async def test_no_span_is_in_the_way_of_others(
    station: Station, make: Callable[[Tracer], None], refused: int
) -> None:
    processor = PilothouseSpanProcessor(station.server.grpc)
    with provided(station, processor) as provider:
        tracer = provider.get_tracer("odd")
        running = [tracer.start_span("running \ud800")]
        running += [tracer.start_span("r", attributes={"c": "x" * 900_000}) for _ in range(6)]
        make(tracer)
        tracer.start_span("after").end()
        assert await asyncio.to_thread(processor.force_flush, 60_000)
        assert processor.stats.refused == refused
        events = await station.events(6 + processor.stats.sent)
        assert "after" in {event["message"] for event in events}
        for each in running:
            each.end()


def test_nothing_is_waited_for_and_what_is_too_much_is_counted() -> None:
    processor = PilothouseSpanProcessor(f"127.0.0.1:{free_port()}", options=NOBODY)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("nobody")
    begin = time.perf_counter()
    open_spans = [tracer.start_span("open") for _ in range(4)]
    for span in open_spans:
        span.end()
    for _ in range(100):
        tracer.start_span("ended").end()
    assert time.perf_counter() - begin < 5
    stats = processor.stats
    assert (stats.unfollowed, stats.waiting, stats.dropped) == (2, 3, 101)
    assert not processor.force_flush(50)
    processor.shutdown(within=0.1)


def test_what_is_not_sampled_is_not_sent() -> None:
    processor = PilothouseSpanProcessor(f"127.0.0.1:{free_port()}")
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("off").start_span("unseen").end()
    assert processor.stats.waiting == 0
    provider.shutdown()


def test_options_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="not possible"):
        SpanOptions(max_queue=0)


@on_server
async def test_a_forked_process_sends_its_own_spans(station: Station) -> None:
    program = textwrap.dedent(PROGRAM.replace("time.sleep(60)", "pass")).replace(
        "with provider", "import os\nchild = os.fork()\nwith provider"
    )
    program += "\nprovider.shutdown()\nif child: os.waitpid(child, 0)\n"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, station.server.grpc, station.service,
        env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "1"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    async def both() -> bool:
        path = f'/api/v1/workflows?filter=source="{station.service}"'
        return len((await station.server.get(path))["workflows"]) == 2

    await wait_until(both, within=PATIENCE, what="a workflow of each process")
