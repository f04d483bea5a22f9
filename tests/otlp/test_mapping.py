"""What spans become."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pilothouse.v1 import enums_pb2
from pilothouse_server.foreign.otlp.conventions import OPERATIONS, RESULTS, Outcome
from pilothouse_server.foreign.otlp.mapping import Mapper
from pilothouse_server.foreign.otlp.reading import Refused, read_request
from pilothouse_server.foreign.otlp.runs import Runs
from pilothouse_server.wire.publishing import reason_against
from pilothouse_server.wire.times import duration_us, timestamp_us
from tests.otlp.build import (
    MS,
    NOON_NS,
    NOW_US,
    TRACE_HEX,
    Value,
    events_of,
    genai,
    id_of,
    request,
    span,
    types_of,
)

NOON_US = NOON_NS // 1000


def test_a_span_of_no_convention_is_one_event_and_no_workflow() -> None:
    (event,) = events_of(request(span(1, name="GET /health", http__method="GET"))).values()
    assert types_of([event]) == ["SPAN_ENDED"]
    assert (event.id, event.source, event.message) == (
        f"otel:{TRACE_HEX}:{id_of(1)}:e", "desk", "GET /health",
    )  # fmt: skip
    assert timestamp_us(event.occur_time) == NOON_US + 10_000
    assert duration_us(event.duration) == 10_000
    assert not event.workflow_id
    assert event.attributes["http.method"] == "GET"


def test_nanoseconds_are_cut_off_such_that_end_less_duration_is_the_start() -> None:
    made = span(1)
    made.start_time_unix_nano += 1_999
    made.end_time_unix_nano += 3_001
    (event,) = events_of(request(made)).values()
    start_us = timestamp_us(event.occur_time) - duration_us(event.duration)
    assert start_us == made.start_time_unix_nano // 1000


def test_an_agent_that_is_the_root_is_a_workflow_and_its_task() -> None:
    events = events_of(
        request(
            genai(1, 0, "invoke_agent", gen_ai__agent__name="helper", ms=50),
            genai(2, 1, "chat", gen_ai__usage__input_tokens=7, gen_ai__usage__output_tokens=3),
            genai(3, 1, "execute_tool", start_ms=20),
            span(4, 3, "SELECT"),
        )
    )
    root, chat = id_of(1), id_of(2)
    workflow = events[f"{root}:ws"]
    assert (workflow.workflow_id, workflow.workflow_type) == (TRACE_HEX, "helper")
    assert (events[f"{root}:ts"].agent_id, events[f"{root}:ts"].task_id) == ("helper", root)
    # The task has the ids, so that what is below the span hangs below the task.
    assert (workflow.span_id, events[f"{root}:ts"].span_id) == ("", root)
    assert types_of([events[f"{root}:we"], events[f"{chat}:te"]]) == [
        "WORKFLOW_COMPLETED", "TASK_COMPLETED",
    ]  # fmt: skip
    used = events[f"{chat}:te"].usage
    assert (used.input_tokens, used.output_tokens) == (7, 3)
    assert events[f"{chat}:te"].parent_span_id == root
    assert types_of([events[f"{id_of(4)}:e"]]) == ["SPAN_ENDED"]


def test_tokens_are_counted_where_they_are_spent() -> None:
    tokens = {"gen_ai__usage__input_tokens": 10, "gen_ai__usage__output_tokens": 1}
    events = events_of(
        request(genai(1, 0, "invoke_agent", more=tokens), genai(2, 1, "chat", more=tokens))
    )
    assert sum(event.usage.input_tokens for event in events.values()) == 10
    remote = genai(3, 1, "invoke_agent", more=tokens)
    remote.kind = Span.SPAN_KIND_CLIENT
    assert events_of(request(remote))[f"{id_of(3)}:te"].usage.input_tokens == 10


@pytest.mark.parametrize("name", ["gen_ai__agent__name", "gen_ai__workflow__name"])
def test_a_workflow_is_named_by_either_release_of_the_convention(name: str) -> None:
    events = events_of(request(genai(1, 0, "invoke_workflow", more={name: "research"})))
    assert types_of(events.values()) == ["WORKFLOW_STARTED", "WORKFLOW_COMPLETED"]
    assert {event.workflow_type for event in events.values()} == {"research"}


def test_a_workflow_in_a_workflow_is_a_stage_of_it() -> None:
    inner = genai(2, 1, "invoke_workflow", gen_ai__workflow__name="inner", start_ms=1, ms=5)
    outer = genai(1, 0, "invoke_workflow", gen_ai__workflow__name="outer")
    events = events_of(request(inner), request(outer))
    assert types_of(events[f"{id_of(1)}:{end}"] for end in ("ws", "we")) == [
        "WORKFLOW_STARTED", "WORKFLOW_COMPLETED",
    ]  # fmt: skip
    assert types_of(events[f"{id_of(2)}:{end}"] for end in ("gs", "ge")) == [
        "STAGE_STARTED", "STAGE_COMPLETED",
    ]  # fmt: skip
    assert events[f"{id_of(2)}:gs"].stage == "inner"


@pytest.mark.parametrize("root_first", [True, False])
def test_a_root_of_no_convention_is_the_run_of_the_work_in_it(root_first: bool) -> None:
    root = request(span(1, name="POST /ask", error="no answer"))
    work = request(genai(2, 1, "invoke_agent", gen_ai__agent__name="helper"))
    events = events_of(*((root, work) if root_first else (work, root)))
    start, end = events[f"{id_of(1)}:ws"], events[f"{id_of(1)}:we"]
    assert (start.workflow_type, start.workflow_name) == ("desk", "POST /ask")
    assert (types_of([end]), end.message) == (["WORKFLOW_FAILED"], "no answer")
    assert types_of([events[f"{id_of(1)}:e"]]) == ["SPAN_ENDED"]


def test_a_workflow_that_another_process_called_is_a_run() -> None:
    called = genai(2, 9, "invoke_workflow", gen_ai__workflow__name="called")
    called.flags = 0x300
    assert types_of(events_of(request(called)).values()) == [
        "WORKFLOW_STARTED", "WORKFLOW_COMPLETED",
    ]  # fmt: skip


def test_a_step_that_names_its_pipeline_run_is_not_the_run() -> None:
    step = span(2, 1, "step", cicd__pipeline__run__id="r")
    run = span(1, ms=50, cicd__pipeline__result="success", cicd__pipeline__run__id="r")
    events = events_of(request(step), request(run))
    assert types_of(events.values()) == ["SPAN_ENDED", "WORKFLOW_STARTED", "WORKFLOW_COMPLETED"]
    assert {event.workflow_id for event in events.values()} == {"r"}


OPERATION = st.sampled_from([*OPERATIONS, ""])


@given(
    st.lists(OPERATION, min_size=1, max_size=6),
    st.randoms(use_true_random=False),
    st.integers(1, 4),
)
def test_the_order_of_spans_and_how_they_are_sent_change_nothing(
    operations: list[str], chance: Random, requests: int
) -> None:
    spans = [span(1, name="root")]
    for number, operation in enumerate(operations, 2):
        named = {"gen_ai__operation__name": operation} if operation else {}
        spans.append(span(number, max(1, number // 2), f"span {number}", more=named))
    whole = events_of(request(*spans))
    chance.shuffle(spans)
    parts = [request(*spans[part::requests]) for part in range(requests)]
    assert events_of(*parts, *parts) == whole


def test_a_trace_that_was_forgotten_leaves_its_run_open_and_is_counted() -> None:
    runs = Runs(most=1)
    mapper = Mapper(runs)
    other = request(span(1, trace=b"o" * 16))
    events = events_of(request(genai(2, 1, "chat")), other, request(span(1)), mapper=mapper)
    assert f"{id_of(1)}:we" not in events
    assert runs.forgotten == 2


@pytest.mark.parametrize(("result", "outcome"), RESULTS.items())
def test_a_pipeline_run_and_its_tasks_are_a_workflow_and_tasks(
    result: str, outcome: Outcome
) -> None:
    resource = {"cicd.pipeline.run.id": "run-7", "cicd.pipeline.name": "release"}
    events = events_of(
        request(
            span(1, name="BUILD release", cicd__pipeline__result=result),
            span(
                2, 1, "unit tests", cicd__pipeline__task__name="unit", cicd__pipeline__task__run__id="77",
                cicd__pipeline__task__type="test", cicd__pipeline__task__run__result=result, cicd__worker__id="w-1",
            ),
            span(3, 2, "compile"),
            resource=resource,
        )
    )  # fmt: skip
    assert {event.workflow_id for event in events.values()} == {"run-7", ""}
    assert types_of([events[f"{id_of(1)}:we"]]) == [f"WORKFLOW_{outcome.name}"]
    task = events[f"{id_of(2)}:te"]
    assert types_of([task]) == [f"TASK_{outcome.name}"]
    assert (task.task_id, task.stage, task.agent_id) == ("77", "test", "w-1")
    assert events[f"{id_of(1)}:ws"].workflow_type == "release"
    assert events[f"{id_of(3)}:e"].workflow_id == "run-7"


def test_a_span_can_say_that_it_is_the_run_and_whose() -> None:
    made = span(
        2, 1, "nightly", pilothouse__workflow__type="import", pilothouse__workflow__id="n-1"
    )
    events = events_of(request(made))
    assert types_of(events.values()) == ["WORKFLOW_STARTED", "WORKFLOW_COMPLETED"]
    assert {(event.workflow_id, event.workflow_type) for event in events.values()} == {
        ("n-1", "import")
    }


def test_what_went_wrong_is_told_in_the_words_of_the_exception() -> None:
    failed = genai(1, 0, "chat", error__type="RateLimited")
    failed.events.add(name="exception").attributes.add(
        key="exception.message"
    ).value.string_value = "slow down"
    end = events_of(request(failed))[f"{id_of(1)}:te"]
    assert types_of([end]) == ["TASK_FAILED"]
    assert (end.error.code, end.error.message) == ("RateLimited", "slow down")
    plain = events_of(request(span(1, 9, error="broken")))[f"{id_of(1)}:e"]
    assert (plain.severity, plain.error.message) == (enums_pb2.SEVERITY_ERROR, "broken")


def test_a_running_span_begins_and_is_alive() -> None:
    def running(beat_ms: int) -> dict[str, str]:
        beat = {"pilothouse__heartbeat": NOON_NS + beat_ms * MS}
        agent = {"gen_ai__operation__name": "invoke_agent", "gen_ai__agent__name": "helper"}
        found = events_of(
            request(span(1, ms=None, more={**beat, **agent}), span(2, 1, ms=None, more=beat))
        )
        return dict(zip(found, types_of(found.values()), strict=True))

    root, below = id_of(1), id_of(2)
    young = running(500)
    assert young == {
        f"{root}:ws": "WORKFLOW_STARTED", f"{root}:ts": "TASK_STARTED", f"{root}:as": "AGENT_HEARTBEAT",
        f"{root}:ab{NOON_US + 500_000}": "AGENT_HEARTBEAT", f"{below}:s": "SPAN_STARTED",
    }  # fmt: skip
    old = running(95_000)
    bucket = (NOON_US + 95_000_000) // 30_000_000
    assert old[f"{root}:b{bucket}"] == old[f"{below}:b{bucket}"] == "SPAN_STARTED"


def test_an_agent_with_a_span_that_runs_has_not_gone() -> None:
    agent = {"gen_ai__operation__name": "invoke_agent", "gen_ai__agent__name": "helper"}

    def one(number: int, ms: int | None, beat_ms: int = 0) -> pb.ExportTraceServiceRequest:
        beat = {} if ms is not None else {"pilothouse__heartbeat": NOON_NS + beat_ms * MS}
        return request(span(number, ms=ms, more={**agent, **beat}))

    def offline(*requests: pb.ExportTraceServiceRequest) -> list[str]:
        found = events_of(*requests)
        types = types_of(found.values())
        return [key for key, name in zip(found, types, strict=True) if name == "AGENT_OFFLINE"]

    running, other = one(1, None, 500), one(2, None, 500)
    assert offline(running, other, one(1, 1_000)) == []
    assert offline(running, other, one(1, 1_000), one(2, 2_000)) == [f"{id_of(2)}:ae"]
    # The other one's process is gone: it is not waited for.
    assert offline(running, other, one(1, 40_000)) == [f"{id_of(1)}:ae"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"trace_id": b"short"}, "trace_id: not 16 bytes"),
        ({"trace_id": bytes(16)}, "trace_id: not 16 bytes, or all of them 0"),
        ({"span_id": b""}, "span_id: not 8 bytes"),
        ({"parent_span_id": b"abc"}, "parent_span_id: not 8 bytes"),
        ({"start_time_unix_nano": 0}, "start_time_unix_nano: not stated"),
        ({"end_time_unix_nano": 0}, "end_time_unix_nano: not stated"),
        ({"end_time_unix_nano": (1 << 64) - 1}, "more than a day ahead"),
        ({"end_time_unix_nano": 0, "heartbeat": NOON_NS * 5}, "heartbeat: more than a day ahead"),
    ],
)
def test_what_cannot_be_a_span_is_refused_by_name(
    change: dict[str, bytes | int], reason: str
) -> None:
    made = span(1)
    for field, value in change.items():
        if field == "heartbeat":
            made.attributes.add(key="pilothouse.heartbeat").value.string_value = str(value)
        else:
            setattr(made, field, value)
    (reported,) = read_request(request(made).SerializeToString())
    with pytest.raises(Refused, match=reason):
        Mapper(Runs()).events_of(reported, NOW_US)


def test_an_end_before_the_start_is_told_as_it_was() -> None:
    (event,) = events_of(request(span(1, 9, ms=-5))).values()
    assert duration_us(event.duration) == -5_000
    assert not reason_against(event)


def test_a_clock_that_is_an_hour_ahead_is_told_as_it_is() -> None:
    (event,) = events_of(request(span(1, 9, start_ms=2 * 3_600_000))).values()
    assert timestamp_us(event.occur_time) == NOON_US + 2 * 3_600_000_000 + 10_000


def test_attributes_are_bounded_and_what_is_cut_is_counted() -> None:
    mapper = Mapper(Runs())
    many: dict[str, Value] = {f"key_{number}": "x" * 600 for number in range(100)}
    made = span(1, 9, more=many, long="é" * 5000)
    made.dropped_attributes_count = 3
    (event,) = events_of(request(made), mapper=mapper).values()
    assert not reason_against(event)
    assert len(event.attributes) <= 64
    assert int(event.attributes["otel.cut"]) == mapper.cut >= 40


def test_lists_maps_and_bytes_are_json_and_endless_ones_end() -> None:
    made = span(1, 9)
    values = [AnyValue(int_value=number) for number in range(5000)]
    made.attributes.add(key="numbers").value.array_value.values.extend(values)
    made.attributes.add(key="bytes").value.bytes_value = b"\x00\xff"
    nested = AnyValue(array_value=ArrayValue(values=[AnyValue(bool_value=True)]))
    made.attributes.add(key="map").value.kvlist_value.values.append(KeyValue(key="a", value=nested))
    (event,) = events_of(request(made)).values()
    assert json.loads(event.attributes["numbers"]) == [*range(256), "…"]
    assert event.attributes["bytes"] == "AP8="
    assert json.loads(event.attributes["map"]) == {"a": [True]}


def test_events_and_links_of_a_span_are_kept_as_json() -> None:
    made = span(1, 9)
    for number in range(50):
        happened = made.events.add(name=f"e{number}", time_unix_nano=NOON_NS + number * MS)
        happened.attributes.add(key="k").value.string_value = "v" * 3000
    made.links.add(trace_id=b"l" * 16, span_id=b"m" * 8)
    (event,) = events_of(request(made)).values()
    told = json.loads(event.attributes["otel.events"])
    assert told[1] == {"name": "e1", "offset_us": 1000, "attributes": {"k": "v" * 1024}}
    assert told[-1] == {"missing": 50 - len(told) + 1}
    (link,) = json.loads(event.attributes["otel.links"])
    assert link == {"trace_id": (b"l" * 16).hex(), "span_id": (b"m" * 8).hex()}


@given(
    st.text(max_size=300),
    st.text(max_size=300),
    st.text(max_size=300),
    st.integers(-(2**40), 2**40),
)
def test_whatever_is_said_passes_what_ingest_would_ask(
    name: str, service: str, value: str, ms: int
) -> None:
    named = {
        "gen_ai__agent__name": value,
        "gen_ai__agent__id": name,
        "cicd__pipeline__run__id": value,
    }
    made = [
        span(1, 0, name, ms=ms, more={value: value}),
        span(2, 1, name, ms=3, gen_ai__operation__name="invoke_agent", more=named),
        span(3, 1, name, error=value, cicd__pipeline__task__run__id=name, cicd__worker__id=value),
        span(4, 1, name, pilothouse__workflow__type=value, pilothouse__workflow__id=name),
    ]
    if max(each.end_time_unix_nano for each in made) // 1000 > NOW_US:
        made = made[1:]
    events = events_of(request(*made, service=service))
    assert {reason_against(event) for event in events.values()} == {""}
