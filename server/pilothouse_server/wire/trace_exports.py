"""Traces as other programs read them: OpenTelemetry's TracesData as JSON, and what Jaeger's page takes as a file.

Both want ids of a fixed form. Ids that have it stay; others are made of a hash, and are told as attributes. A span that
has not ended reaches to the latest time that is known of the trace, and says that it goes on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pilothouse_server.domain.projection.spans import WorkState
from pilothouse_server.domain.traces.model import Link, LinkKind, Span, Trace

_TRACE_ID: Final = re.compile("[0-9a-f]{32}")
_SPAN_ID: Final = re.compile("[0-9a-f]{16}")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16

_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode

Attributes = Mapping[str, str]


class _Ids:
    """Ids of one trace in the form that others want."""

    def __init__(self, trace: Trace) -> None:
        fitting = [each for each in trace.trace_ids if _fits(_TRACE_ID, each, _NO_TRACE)]
        self.trace_id = fitting[0] if fitting else _hashed(trace.id, 32)
        ends = [span.end_us for span in trace.spans if span.end_us is not None]
        self.latest_us = max([*ends, *(span.start_us for span in trace.spans)], default=0)

    def end_us(self, span: Span) -> int:
        """When a span ended, or the latest that is known."""
        return self.latest_us if span.end_us is None else span.end_us

    def of(self, span_id: str) -> str:
        """The id of a span."""
        return span_id if _fits(_SPAN_ID, span_id, _NO_SPAN) else _hashed(span_id, 16)

    def of_trace(self, link: Link) -> str:
        """The trace that a link leads to."""
        if not link.trace_id:
            return self.trace_id
        fits = _fits(_TRACE_ID, link.trace_id, _NO_TRACE)
        return link.trace_id if fits else _hashed(link.trace_id, 32)


def _fits(form: re.Pattern[str], text: str, nothing: str) -> bool:
    return form.fullmatch(text) is not None and text != nothing


def _hashed(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def _by_source(spans: Sequence[Span]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    for span in spans:
        found.setdefault(span.source, []).append(span)
    return found


def _own(span: Span) -> Iterator[tuple[str, str | int | bool]]:
    """What we know of a span that the forms have no field for."""
    yield "pilothouse.span_id", span.id
    yield "pilothouse.kind", span.kind.name
    yield "pilothouse.state", span.state.name
    told = (
        ("stage", span.stage), ("task_id", span.task_id), ("agent_id", span.agent_id), ("agent_type", span.agent_type),
        ("event_id", span.event_id),
    )  # fmt: skip
    for name, value in told:
        if value:
            yield f"pilothouse.{name}", value
    if span.attempt:
        yield "pilothouse.attempt", span.attempt
    if span.end_us is None:
        yield "pilothouse.running", True
    if span.start_estimated:
        yield "pilothouse.start_estimated", True
    if span.usage is not None:
        yield "pilothouse.input_tokens", span.usage.input_tokens
        yield "pilothouse.output_tokens", span.usage.output_tokens
        yield "pilothouse.cost_micros", span.usage.cost_micros
    if span.error is not None and span.error.code:
        yield "error.type", span.error.code


def _waits(span: Span) -> Iterator[tuple[int, dict[str, str]]]:
    """What held a span up: when it began, and what is known of it."""
    for wait in span.waits:
        fields = {"wait": wait.kind.name, "reason": wait.reason, "actor": wait.actor}
        if wait.end_us is not None:
            fields["duration_us"] = str(wait.end_us - wait.start_us)
        yield wait.start_us, {name: value for name, value in fields.items() if value}


class OtlpDocument:
    """`opentelemetry.proto.trace.v1.TracesData` as OTLP/JSON: ids in hex, 64-bit numbers as text."""

    group_end = "]}]}"
    end = "]}"

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._ids = _Ids(trace)

    def groups(self) -> Sequence[tuple[str, Sequence[Span]]]:
        made: list[tuple[str, Sequence[Span]]] = []
        for source, spans in _by_source(self._trace.spans).items():
            resource = {"attributes": [_otlp("service.name", source or "unknown_service")]}
            before = "," if made else '{"resourceSpans":['
            scope = '"scopeSpans":[{"scope":{"name":"pilothouse"},"spans":['
            made.append((f'{before}{{"resource":{_text(resource)},{scope}', spans))
        return made

    def span(self, span: Span, attributes: Attributes) -> str:
        ids = self._ids
        written: dict[str, Any] = {
            "traceId": ids.trace_id,
            "spanId": ids.of(span.id),
            "name": span.name,
            "kind": 1,
            "startTimeUnixNano": f"{span.start_us}000",
            "endTimeUnixNano": f"{ids.end_us(span)}000",
            "attributes": [_otlp(*each) for each in (*attributes.items(), *_own(span))],
            "events": [
                {
                    "timeUnixNano": f"{at}000",
                    "name": "pilothouse.wait",
                    "attributes": [_otlp(*each) for each in fields.items()],
                }
                for at, fields in _waits(span)
            ],
            "links": [
                {
                    "traceId": ids.of_trace(link),
                    "spanId": ids.of(link.span_id),
                    "attributes": [_otlp("pilothouse.link", link.kind.name)],
                }
                for link in span.links
            ],
            "status": _status(span),
        }
        if span.parent_id:
            written["parentSpanId"] = ids.of(span.parent_id)
        return _text(written)


def _status(span: Span) -> dict[str, Any]:
    if span.error is not None or span.state == WorkState.FAILED:
        return {"code": 2, "message": "" if span.error is None else span.error.message}
    return {"code": 1} if span.state == WorkState.COMPLETED else {}


def _otlp(key: str, value: str | int | bool) -> dict[str, Any]:
    match value:
        case bool():
            return {"key": key, "value": {"boolValue": value}}
        case int():
            return {"key": key, "value": {"intValue": str(value)}}
        case str():
            return {"key": key, "value": {"stringValue": value}}


class JaegerDocument:
    """The answer of Jaeger's query service for one trace, which its page takes as a file. Times in microseconds."""

    group_end = ""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._ids = _Ids(trace)
        sources = dict.fromkeys(span.source for span in trace.spans)
        self._processes = {source: f"p{number}" for number, source in enumerate(sources, 1)}

    def groups(self) -> Sequence[tuple[str, Sequence[Span]]]:
        return [(f'{{"data":[{{"traceID":"{self._ids.trace_id}","spans":[', self._trace.spans)]

    def span(self, span: Span, attributes: Attributes) -> str:
        ids = self._ids
        tags = [_jaeger(*each) for each in (*attributes.items(), *_own(span))]
        if span.error is not None or span.state == WorkState.FAILED:
            tags.append(_jaeger("error", True))
            if span.error is not None:
                tags.append(_jaeger("otel.status_description", span.error.message))
        return _text(
            {
                "traceID": ids.trace_id,
                "spanID": ids.of(span.id),
                "operationName": span.name,
                "references": self._references(span),
                "startTime": span.start_us,
                "duration": ids.end_us(span) - span.start_us,
                "tags": tags,
                "logs": [
                    {"timestamp": at, "fields": [_jaeger(*each) for each in fields.items()]}
                    for at, fields in _waits(span)
                ],
                "processID": self._processes[span.source],
                "warnings": None,
            }
        )

    @property
    def end(self) -> str:
        processes: dict[str, dict[str, object]] = {
            name: {"serviceName": source or "unknown_service", "tags": []}
            for source, name in self._processes.items()
        }
        told = [problem.message for problem in self._trace.problems] or None
        rest = f'],"processes":{_text(processes)},"warnings":{_text(told)}}}]'
        return f'{rest},"total":1,"limit":0,"offset":0,"errors":null}}'

    def _references(self, span: Span) -> list[dict[str, str]]:
        ids = self._ids
        found = [("CHILD_OF", ids.trace_id, span.parent_id)] if span.parent_id else []
        found += [
            ("FOLLOWS_FROM", ids.of_trace(link), link.span_id)
            for link in span.links
            if link.kind != LinkKind.RELATED
        ]
        return [
            {"refType": kind, "traceID": trace_id, "spanID": ids.of(span_id)}
            for kind, trace_id, span_id in found
        ]


def _jaeger(key: str, value: str | int | bool) -> dict[str, Any]:
    match value:
        case bool():
            return {"key": key, "type": "bool", "value": value}
        case int():
            return {"key": key, "type": "int64", "value": value}
        case str():
            return {"key": key, "type": "string", "value": value}
