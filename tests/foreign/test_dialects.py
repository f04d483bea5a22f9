"""Each dialect as it was recorded, what is mended and what is refused; and that no bytes raise anything else."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.domain.events import EventType
from pilothouse_server.domain.shards import shard_of
from pilothouse_server.foreign.entries import Sorted
from pilothouse_server.foreign.sorting import Sorter
from pilothouse_server.foreign.words import type_of
from pilothouse_server.wire.events import decode_events
from pilothouse_server.wire.publishing import reason_against

ENTRY = b"1795342530123-4"
NOW_MS = 1795342531000
FIXTURES = sorted(Path(__file__).parent.joinpath("fixtures").glob("*.json"))


def recorded() -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}: {case['name']}")
        for path in FIXTURES
        for case in json.loads(path.read_text("utf-8"))
    ]


def flat(fields: dict[str, Any]) -> list[bytes]:
    values: list[bytes] = []
    for name, value in fields.items():
        raw = (
            value.encode()
            if isinstance(value, str)
            else base64.b64decode(cast("str", value["base64"]))
        )
        values += [name.encode(), raw]
    return values


def events_in(found: Sorted) -> list[pb.Event]:
    return list(pb.EventBatch.FromString(found.payload).events)


def sorter(shard: int = 0, shards: int = 1) -> Sorter:
    """One that sorts soon after the entry was written."""
    return Sorter(shard, shards, now_ms=lambda: NOW_MS)


def read(event: object, field: str = "event") -> Sorted:
    return sorter()(ENTRY, [field.encode(), json.dumps(event).encode()])


@pytest.mark.parametrize("case", recorded())
def test_what_was_recorded_is_read_as_it_was_meant(case: dict[str, Any]) -> None:
    found = sorter()(ENTRY, flat(case["fields"]))
    shown = [MessageToDict(event) for event in events_in(found)]
    expected = case.get("events", [])
    assert [
        {key: event.get(key) for key in wanted}
        for event, wanted in zip(shown, expected, strict=True)
    ] == expected
    assert all(event["receiveTime"] == "2026-11-22T10:15:30.123Z" for event in shown)
    assert found.events == len(expected)
    if "refused" in case:
        assert found.refused is not None
        assert found.refused.reason.startswith(case["refused"])
    else:
        assert found.refused is None


@pytest.mark.parametrize("case", recorded())
def test_reading_again_gives_the_same(case: dict[str, Any]) -> None:
    assert sorter()(ENTRY, flat(case["fields"])) == sorter()(ENTRY, flat(case["fields"]))


def test_what_was_refused_can_be_tried_again_alone() -> None:
    good = {"type": "TASK_QUEUED", "workflow_id": "w", "task_id": "t"}
    wrong = {"type": "TASK_QUEUED", "workflow_id": "w"}
    found = read([good, wrong, good])
    assert found.events == 2
    assert found.refused is not None
    again = sorter()(b"1795342530999-0", found.refused.fields)
    assert again.events == 0
    assert again.refused is not None
    assert "task_id: needed" in again.refused.reason


@pytest.mark.parametrize("kind", [kind for kind in EventType if kind is not EventType.LOG])
def test_every_type_has_three_spellings(kind: EventType) -> None:
    entity, _, verb = kind.name.partition("_")
    spelled = f"{entity}.{verb}".lower()
    assert type_of(kind.name) is kind
    assert type_of(f"EVENT_TYPE_{kind.name}") is kind
    assert type_of(f"WORKFLOW_{kind.name}") is kind
    assert type_of(spelled) is kind
    assert type_of(f"orchestrator:workflow:{spelled.replace('.', ':')}") is kind
    assert type_of(f"{entity.title()}{verb.title()}") is kind


def test_long_texts_are_cut_and_long_names_refused() -> None:
    found = read({"type": "LOG", "message": "ü" * 5000, "attributes": {"k": "v" * 9000}})
    (event,) = events_in(found)
    assert len(event.message.encode()) <= 4096
    assert event.message.endswith("ü…")
    assert len(event.attributes["k"].encode()) <= 4096
    assert reason_against(event) == ""
    assert read({"type": "LOG", "source": "s" * 257}).refused is not None


def test_what_no_database_takes_is_replaced() -> None:
    found = read(
        {
            "type": "workflow.started",
            "workflow_id": "a\0b\n",
            "message": "x\0y",
            "workflow_name": "\ud800",
        }
    )
    (event,) = events_in(found)
    assert (event.workflow_id, event.message) == ("a\ufffdb\ufffd", "x\ufffdy")
    assert event.workflow_name == "?"
    plain = pb.Event(type=pb.EVENT_TYPE_LOG, message="x\0y")
    (event,) = events_in(sorter()(ENTRY, [b"event", plain.SerializeToString()]))
    assert event.message == "x\ufffdy"


def test_events_go_to_the_shards_of_their_workflows() -> None:
    events = [{"type": "workflow.started", "workflow_id": f"wf-{number}"} for number in range(40)]
    found = sorter(0, 3)(ENTRY, [b"event", json.dumps(events).encode()])
    parts = {0: found.payload, **found.elsewhere}
    assert set(parts) == {0, 1, 2}
    seen = {
        shard: [event.workflow_id for event in decode_events(payload)]
        for shard, payload in parts.items()
    }
    assert all(shard_of(name, "", 3) == shard for shard, names in seen.items() for name in names)
    assert sum(map(len, seen.values())) == 40
    ids = {event.id for payload in parts.values() for event in decode_events(payload)}
    assert len(ids) == 40


def test_what_comes_into_the_wrong_shard_is_refused() -> None:
    other = next(f"wf-{n}" for n in range(99) if shard_of(f"wf-{n}", "", 3) == 2)
    found = sorter(1, 3)(
        ENTRY, [b"event", json.dumps({"type": "workflow.started", "workflow_id": other}).encode()]
    )
    assert found.payload == b""
    assert found.refused is not None
    assert "write to shard 0" in found.refused.reason


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
names = st.sampled_from(
    [
        "type", "id", "workflow_id", "workflowId", "stage", "task_id", "agent_id", "timestamp", "duration",
        "duration_ms", "error", "message", "payload", "msg", "metadata", "metrics", "attributes", "usage", "load",
        "stage_plan", "severity", "attempt", "success", "status", "data",
    ]
) | st.text(max_size=8)  # fmt: skip
values = st.recursive(
    scalars
    | st.sampled_from(["workflow.started", "stage.completed", "2026-11-22T10:15:30Z", "1.5s"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=8),
    max_leaves=25,
)
fields = st.lists(
    st.tuples(
        st.sampled_from([b"event", b"batch", b"data", b"payload", b"message", b"topic"])
        | st.binary(max_size=6),
        st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()),
    ),
    max_size=4,
)


@given(fields, st.sampled_from([1, 3]))
def test_whatever_comes_is_taken_or_refused_with_a_reason(
    entry: list[tuple[bytes, bytes]], shards: int
) -> None:
    found = sorter(0, shards)(ENTRY, [each for pair in entry for each in pair])
    taken = 0
    for payload in (found.payload, *found.elsewhere.values()):
        for event in pb.EventBatch.FromString(payload).events:
            taken += 1
            assert reason_against(event) == ""
            assert event.id
        decode_events(payload)
    assert taken == found.events
    assert taken or (found.refused is not None and len(found.refused.reason) > 8)
    assert found.refused is None or "the server fails" not in found.refused.reason


@given(values)
def test_any_json_in_any_field_is_taken_or_refused(value: object) -> None:
    for field in ("event", "data", "payload", "message"):
        found = read(value, field)
        assert all(reason_against(event) == "" for event in events_in(found))
        assert found.events or found.refused is not None


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"type":"LOG","timestamp":1e999}',
        b'{"type":"LOG","attempt":' + b"9" * 4000 + b"}",
        b'{"type":"LOG","timestamp":' + b"9" * 400 + b"}",
        b'{"type":"LOG","duration_ms":' + b"9" * 400 + b"}",
        b'{"type":' + b"9" * 5000 + b"}",
        b"\xff\xfe{",
        b"null",
        b"[]",
        b"[" + b",".join([b"{}"] * 2000) + b"]",
    ],
)
def test_hostile_json_is_refused(payload: bytes) -> None:
    found = sorter()(ENTRY, [b"event", payload])
    assert found.payload == b""
    assert found.refused is not None
    assert len(found.refused.reason) < 2000


def test_what_is_too_deep_to_be_set_aside_alone_is_refused_whole() -> None:
    for depth in range(900, 1100):
        deep = b"[" * depth + b"]" * depth
        entry = b'[{"type":"LOG","message":"good"},{"none":' + deep + b"}]"
        found = sorter()(ENTRY, [b"data", entry])
        assert found.refused is not None
        assert "the server fails" not in found.refused.reason


def test_an_entry_that_we_fail_to_sort_is_set_aside_and_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> int:
        raise ArithmeticError

    found = Sorter(now_ms=broken)(ENTRY, [b"event", b"{}"])
    assert found.payload == b""
    assert found.refused is not None
    assert found.refused.fields == [b"event", b"{}"]
    assert "the server fails to read it (ArithmeticError)" in found.refused.reason
    assert "cannot be sorted" in caplog.text


@pytest.mark.parametrize(
    "entry_id", [b"1795342599999-0", b"1795342530123456-0", b"1795342530123456789-0"]
)
def test_nothing_is_received_in_the_future_whatever_its_id_says(entry_id: bytes) -> None:
    found = sorter()(entry_id, [b"event", b'{"type":"LOG","message":"early"}'])
    (event,) = decode_events(found.payload)
    assert event.receive_us == event.occur_us == NOW_MS * 1000
    assert event.id == f"workflow:events/{entry_id.decode()}"
