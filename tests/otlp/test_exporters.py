"""The real SDK of OpenTelemetry, its exporters and an instrumentation, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import grpc
import openai
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from pilothouse.otel import PilothouseSpanProcessor
from tests.otlp.conftest import Station
from tests.otlp.openai_api import openai_api

pytestmark = pytest.mark.asyncio(loop_scope="package")

HOWS = ["grpc", "grpc gzip", "http", "http gzip"]


def exporter(station: Station, how: str) -> SpanExporter:
    """A real exporter to the server."""
    packed = how.endswith("gzip")
    if how.startswith("grpc"):
        coding = grpc.Compression.Gzip if packed else grpc.Compression.NoCompression
        return GrpcExporter(endpoint=station.server.grpc, insecure=True, compression=coding)
    coded = Compression.Gzip if packed else Compression.NoCompression
    return HttpExporter(f"{station.server.url}/v1/traces", compression=coded)


@contextmanager
def provided(
    station: Station, processor: SpanProcessor, **resource: str
) -> Generator[TracerProvider]:
    """A provider of tracers of the station's service, shut down in the end."""
    named = {key.replace("__", "."): value for key, value in resource.items()}
    provider = TracerProvider(
        resource=Resource.create({"service.name": station.service, **named}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    try:
        yield provider
    finally:
        provider.shutdown()


def operation(name: str, who: str) -> dict[str, str]:
    """The attributes of a GenAI operation."""
    return {"gen_ai.operation.name": name, "gen_ai.agent.name": who}


@pytest.mark.parametrize("how", HOWS)
async def test_a_pipeline_reported_by_the_sdk_is_a_workflow(station: Station, how: str) -> None:
    def work() -> None:
        processor = BatchSpanProcessor(exporter(station, how))
        run = f"run of {station.service}"
        with provided(station, processor, cicd__pipeline__run__id=run) as provider:
            tracer = provider.get_tracer("ci")
            with tracer.start_as_current_span("BUILD release", kind=SpanKind.SERVER) as pipeline:
                pipeline.set_attribute("cicd.pipeline.name", "release")
                for name, result in (("lint", "success"), ("unit", "failure")):
                    with tracer.start_as_current_span(name) as task:
                        task.set_attribute("cicd.pipeline.task.name", name)
                        task.set_attribute("cicd.pipeline.task.run.result", result)
                        tracer.start_span("compile").end()
                pipeline.set_attribute("cicd.pipeline.result", "failure")
                pipeline.set_status(StatusCode.ERROR, "1 task failed")

    await asyncio.to_thread(work)
    workflow = await station.workflow("FAILED")
    assert workflow["id"] == f"run of {station.service}"
    assert workflow["workflow_type"] == "release"
    assert workflow["error"]["message"] == "1 task failed"
    assert await station.types(8) == {
        "WORKFLOW_STARTED", "WORKFLOW_FAILED", "TASK_STARTED", "TASK_COMPLETED", "TASK_FAILED", "SPAN_ENDED",
    }  # fmt: skip


@pytest.mark.parametrize("processor", ["exporter", "processor"])
async def test_an_agent_with_instrumented_openai_is_seen_with_its_tokens(
    station: Station, processor: str
) -> None:
    service = station.service

    def work() -> None:
        through: SpanProcessor = (
            PilothouseSpanProcessor(station.server.grpc)
            if processor == "processor"
            else BatchSpanProcessor(exporter(station, "grpc"))
        )
        with openai_api() as url, provided(station, through) as provider:
            instrumentor: Any = OpenAIInstrumentor
            instrumentor = instrumentor()
            instrumentor.instrument(tracer_provider=provider)
            client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
            try:
                tracer = provider.get_tracer("research")
                with (
                    tracer.start_as_current_span(
                        "research",
                        attributes=operation("invoke_workflow", f"research of {service}"),
                    ),
                    tracer.start_as_current_span(
                        "tides", attributes=operation("invoke_agent", f"tides of {service}")
                    ),
                ):
                    for _ in range(2):
                        client.chat.completions.create(
                            model="small-1", messages=[{"role": "user", "content": "How often?"}]
                        )
            finally:
                client.close()
                instrumentor.uninstrument()

    await asyncio.to_thread(work)
    workflow = await station.workflow("COMPLETED")
    assert workflow["workflow_type"] == f"research of {station.service}"
    assert (workflow["usage"]["input_tokens"], workflow["usage"]["output_tokens"]) == ("24", "8")
    assert workflow["id"] == workflow["trace_id"]
    path = f'/api/v1/agents?filter=id="tides of {station.service}"'
    (agent,) = (await station.server.get(path))["agents"]
    assert agent["offline_reason"] == "it said goodbye: its last span ended"


@pytest.mark.parametrize("how", HOWS[1::2])
async def test_what_is_refused_of_a_request_is_told_to_the_exporter(
    station: Station, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A span of the far future, beside one that is taken."""

    def work() -> None:
        with provided(station, BatchSpanProcessor(exporter(station, how))) as provider:
            tracer = provider.get_tracer("clock")
            tracer.start_span("right").end()
            tracer.start_span("wrong", start_time=1).end(end_time=4 * 10**18)

    await asyncio.to_thread(work)
    (event,) = await station.events()
    assert event["message"] == "right"


async def test_words_of_any_script_come_back_as_they_are(station: Station) -> None:
    words = "שלום \x1b[31m\u202e عالم\tdone"

    def work() -> None:
        with provided(station, BatchSpanProcessor(exporter(station, "http"))) as provider:
            provider.get_tracer("words").start_span(words, attributes={"text": words}).end()

    await asyncio.to_thread(work)
    (event,) = await station.events()
    assert (event["message"], event["attributes"]["text"]) == (words, words)
