"""Spans of OpenTelemetry into the log, and from there to where traces read them.

A child process as senders do it (batches of 512 spans, the SDK's default) over gRPC, as fast as answers come, several
requests under way. Every answer is durable. The mapping is measured alone, too. What is compared with is what the
Collector's own documentation published for one core (docs/performance.md of its version 0.1.3: ~12,000 spans/s with 20
attributes each, received and passed on, not stored); Jaeger publishes no such figure that we know of.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench.process import start_server
from bench.report import provenance, table
from pilothouse.aio import Client
from pilothouse.v1 import events_pb2
from pilothouse_server.foreign.otlp.mapping import Mapper
from pilothouse_server.foreign.otlp.reading import read_request
from pilothouse_server.foreign.otlp.runs import Runs
from tests.support import wait_until

BATCH = 512
IN_TRACE = 16
ATTRIBUTES = 20
COLLECTOR = 12_000
METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def request_of(number: int, *, work: bool) -> bytes:
    """A batch: traces of 16 spans, 20 attributes each; with `work` each trace is a GenAI run with three calls."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "bench"
    spans = group.scope_spans.add().spans
    now = time.time_ns()
    for index in range(BATCH):
        trace, place = divmod(number * BATCH + index, IN_TRACE)
        span = spans.add(
            trace_id=(trace + 1).to_bytes(8, "big") + os.getpid().to_bytes(8, "big"),
            span_id=(place + 1).to_bytes(8, "big"),
            parent_span_id=place.to_bytes(8, "big") if place else b"",
            name=f"operation {place}",
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=now - (IN_TRACE - place) * 1_000_000,
            end_time_unix_nano=now,
        )
        for attribute in range(ATTRIBUTES):
            span.attributes.add(
                key=f"attribute.{attribute}"
            ).value.string_value = f"value {attribute} of {index}"
        if work and place < 4:
            operation = "chat" if place else "invoke_agent"
            span.attributes.add(key="gen_ai.operation.name").value.string_value = operation
            span.attributes.add(key="gen_ai.agent.name").value.string_value = "helper"
    return request.SerializeToString()


def mapping(bodies: list[bytes]) -> tuple[float, float]:
    """Spans a second that are read and mapped by one core, and microseconds for each."""
    mapper = Mapper(Runs())
    now_us = time.time_ns() // 1000
    begin = time.perf_counter()
    for body in bodies:
        for reported in read_request(body):
            mapper.events_of(reported, now_us)
    seconds = time.perf_counter() - begin
    spans = len(bodies) * BATCH
    return spans / seconds, seconds / spans * 1e6


async def sent(address: str, bodies: list[bytes], under_way: int) -> float:
    """Seconds until all are answered."""
    waiting = iter(bodies)
    async with grpc.aio.insecure_channel(address) as opened:
        channel: Any = opened
        export = channel.unary_unary(METHOD)

        async def sender() -> None:
            for body in waiting:
                await export(body)

        begin = time.perf_counter()
        async with asyncio.TaskGroup() as senders:
            for _ in range(under_way):
                senders.create_task(sender())
        return time.perf_counter() - begin


async def stored(address: str, spans: int) -> None:
    """Returns when the newest trace can be read whole."""
    last = (spans // IN_TRACE).to_bytes(8, "big") + os.getpid().to_bytes(8, "big")
    wanted = events_pb2.ListEventsRequest(filter=f'trace_id="{last.hex()}"')
    async with Client(address) as client:

        async def whole() -> bool:
            listed = await client.events.ListEvents(wanted)
            return len({event.span_id for event in listed.events if event.span_id}) == IN_TRACE

        await wait_until(whole, within=600, what="the newest trace")


async def measure(spans: int, under_way: int, *, work: bool) -> list[str]:
    """One row."""
    bodies = [request_of(number, work=work) for number in range(spans // BATCH)]
    spans = len(bodies) * BATCH
    rate, micros = mapping(bodies)
    with tempfile.TemporaryDirectory() as folder:
        server = await start_server("serve", Path(folder) / "data")
        try:
            begin, cpu = time.perf_counter(), server.cpu_seconds()
            accepted = await sent(server.grpc, bodies, under_way)
            await stored(server.grpc, spans)
            seen, cpu = time.perf_counter() - begin, server.cpu_seconds() - cpu
            memory = server.rss_mib()
        finally:
            await server.end()
    return [
        "a quarter is work" if work else "plain spans",
        f"{spans:,}",
        f"{rate:,.0f} ({micros:.1f} µs)",
        f"{spans / accepted:,.0f}",
        f"{spans / seen:,.0f}",
        f"{cpu / spans * 1e6:.0f} µs",
        f"{memory:.0f} MiB",
        f"{spans / accepted / COLLECTOR:.2f}",
    ]


async def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--under-way", type=int, default=8)
    options = parser.parse_args()
    print(provenance())
    rows = [await measure(options.spans, options.under_way, work=work) for work in (False, True)]
    header = (
        "spans", "number", "mapped, one core", "accepted a second", "into the trace's events a second",
        "processor time each", "memory", "accepted ÷ Collector's 12,000",
    )  # fmt: skip
    print(table(f"OTLP, batches of {BATCH} spans with {ATTRIBUTES} attributes", header, rows))


if __name__ == "__main__":
    asyncio.run(main())
