"""The rules by which the contract becomes commands and columns, on a service that does not exist yet."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import click
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from pilothouse.cli import contract, params, values
from pilothouse.cli.columns import columns_of, title
from pilothouse.cli.tables import Screen
from pilothouse.v1.agents_pb2 import Agent
from pilothouse.v1.commands_pb2 import Command
from pilothouse.v1.enums_pb2 import ControlAction
from pilothouse.v1.events_pb2 import Event
from pilothouse.v1.rules_pb2 import ImportRulesRequest, UpdateRuleRequest
from pilothouse.v1.workflows_pb2 import Workflow

NOW = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)


def service_of(name: str, *methods: str) -> ServiceDescriptor:
    """A service of tomorrow; a method with a `*` streams its answers."""
    file = descriptor_pb2.FileDescriptorProto(name="tomorrow.proto", package="tomorrow")
    message = file.message_type.add(name="Anything")
    field = descriptor_pb2.FieldDescriptorProto
    for number, (field_name, kind, label) in enumerate(
        [
            ("text", field.TYPE_STRING, field.LABEL_OPTIONAL),
            ("count", field.TYPE_UINT32, field.LABEL_OPTIONAL),
            ("ratio", field.TYPE_DOUBLE, field.LABEL_OPTIONAL),
            ("offset", field.TYPE_INT64, field.LABEL_OPTIONAL),
            ("fast", field.TYPE_BOOL, field.LABEL_OPTIONAL),
            ("tags", field.TYPE_STRING, field.LABEL_REPEATED),
        ],
        start=1,
    ):
        message.field.add(name=field_name, number=number, type=kind, label=label)
    entry = message.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    message.field.add(
        name="labels",
        number=9,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".tomorrow.Anything.LabelsEntry",
    )
    service = file.service.add(name=name)
    for method in methods:
        service.method.add(
            name=method.removesuffix("*"),
            input_type=".tomorrow.Anything",
            output_type=".tomorrow.Anything",
            server_streaming=method.endswith("*"),
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName(f"tomorrow.{name}")


@pytest.mark.parametrize(
    ("service", "group", "methods", "names"),
    [
        (
            "PlatformPlanService",
            "platform-plans",
            [
                "GetPlatformPlan",
                "ListPlatformPlans",
                "SetPlatformPlan",
                "FollowPlatformPlan*",
            ],
            ["get", "list", "set", "watch"],
        ),
        (
            "TraceService",
            "traces",
            ["ListTraces", "GetTrace", "CompareTraces", "ListTraceSpans"],
            ["list", "get", "compare", "list-spans"],
        ),
        (
            "AuditService",
            "audit",
            ["ExportAudit*", "VerifyHashChain"],
            ["export", "verify-hash-chain"],
        ),
        ("DeliveryService", "deliveries", ["ListDeliveries", "RetryDelivery"], ["list", "retry"]),
        ("SiteService", "site", ["GetServerStatus"], ["get-server-status"]),
        ("BoxService", "boxes", ["StartBox", "StartBoxes"], ["start", "start-boxes"]),
    ],
)
def test_a_new_method_is_a_new_command(
    service: str, group: str, methods: list[str], names: list[str]
) -> None:
    found = service_of(service, *methods)
    assert contract.group_name(found) == group
    assert list(contract.commands(found)) == names


def test_a_document_is_read_from_a_file(tmp_path: Path) -> None:
    """And a mask is names with commas between them."""
    file = tmp_path / "rules.yaml"
    file.write_text("rules: []\n", "utf-8")
    taken = contract.groups()["rules"]["import"].method
    command = click.Command("x", params=params.parameters(taken))
    request = ImportRulesRequest()
    params.fill(request, command.make_context("x", [str(file)]).params)
    assert request.document == "rules: []\n"
    (tmp_path / "binary").write_bytes(b"\xff")
    for missing in ("nothing.yaml", "binary"):
        with pytest.raises(click.BadParameter):
            command.make_context("x", [str(tmp_path / missing)])
    changed = contract.groups()["rules"]["update"].method
    command = click.Command("x", params=params.parameters(changed))
    update = UpdateRuleRequest()
    params.fill(update, command.make_context("x", ["--update-mask", "name, labels"]).params)
    assert list(update.update_mask.paths) == ["name", "labels"]


def test_a_document_is_printed_as_it_is_and_cannot_command_the_terminal() -> None:
    stream = io.StringIO()
    Screen(stream, terminal=False, colour=False).text("a:\n  - b \n  - \x1b[2J\n")
    assert stream.getvalue() == "a:\n  - b \n  - ␛[2J\n"


def test_every_kind_of_field_has_its_kind_of_option() -> None:
    method = service_of("ThingService", "GetThing").methods[0]
    request = GetMessageClass(method.input_type)()
    command = click.Command("x", params=params.parameters(method))
    typed: str = "--text a --count 3 --ratio 0.5 --offset -4 --no-fast --tags x --tags y --labels k=v --labels e="
    context = command.make_context("x", list(typed.split(" ")))
    params.fill(request, context.params)
    expected = {"text": "a", "count": 3, "ratio": 0.5, "offset": -4, "tags": ["x", "y"]}
    assert {name: getattr(request, name) for name in expected} == expected
    assert dict(getattr(request, "labels")) == {"k": "v", "e": ""}  # noqa: B009 - not known to a type checker
    with pytest.raises(click.BadParameter, match="not KEY=VALUE"):
        command.make_context("x", ["--labels", "nonsense"])


def test_nothing_typed_is_nothing_set() -> None:
    method = service_of("ThingService", "GetThing").methods[0]
    request = GetMessageClass(method.input_type)()
    command = click.Command("x", params=params.parameters(method))
    params.fill(request, command.make_context("x", []).params)
    assert request.ListFields() == []


def test_a_number_that_does_not_fit_is_said() -> None:
    method = service_of("ThingService", "GetThing").methods[0]
    request = GetMessageClass(method.input_type)()
    with pytest.raises(click.BadParameter):
        params.fill(request, {"count": 1 << 40})


@pytest.mark.parametrize(
    ("typed", "number"), [("pause", 1), ("PAUSE", 1), ("Control-Action-Pause", 1), (" cancel ", 3)]
)
def test_enum_values_are_found_however_they_are_typed(typed: str, number: int) -> None:
    name = contract.enum_name(ControlAction.DESCRIPTOR, typed)
    assert ControlAction.Value(name) == number


def test_a_value_that_this_program_does_not_know_is_shown_as_its_number() -> None:
    assert contract.enum_word(ControlAction.DESCRIPTOR, 77) == "77"
    assert contract.enum_word(ControlAction.DESCRIPTOR, 0) == ""


def test_titles_are_words_of_people() -> None:
    titles = {field.name: title(field) for field in contract.fields(Workflow.DESCRIPTOR)}
    assert titles["workflow_type"] == "type"
    assert titles["create_time"] == "created"
    assert titles["end_time"] == "ended"
    assert {field.name: title(field) for field in contract.fields(Event.DESCRIPTOR)}[
        "occur_time"
    ] == "occurred"
    assert {field.name: title(field) for field in contract.fields(Agent.DESCRIPTOR)}[
        "last_seen_time"
    ] == "last seen"


def test_identity_and_state_come_first_and_what_is_for_programs_not_at_all() -> None:
    for descriptor in (Workflow.DESCRIPTOR, Command.DESCRIPTOR, Agent.DESCRIPTOR, Event.DESCRIPTOR):
        titles = [column.title for column in columns_of(descriptor)]
        # Events are read like a log.
        assert titles[0] == ("occurred" if descriptor is Event.DESCRIPTOR else "id")
        assert not {"etag", "cursor", "request id", "trace id", "span id"} & set(titles)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.0000025, "2.5 µs"),
        (0.0123, "12 ms"),
        (1.234, "1.2 s"),
        (42, "42 s"),
        (59.6, "60 s"),
        (200, "3m 20s"),
        (7500, "2h 05m"),
        (3600, "1h"),
        (97 * 3600, "4d 1h"),
        (-5, "-5 s"),
    ],
)
def test_lengths_of_time_are_shown_as_people_say_them(seconds: float, shown: str) -> None:
    assert values.show_seconds(seconds) == shown


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1.5 h", 5400),
        ("2d", 172800),
    ],
)
def test_durations_are_typed_as_people_say_them(typed: str, seconds: float) -> None:
    assert values.parse_duration(typed).ToMilliseconds() == seconds * 1000


@pytest.mark.parametrize("typed", ["", "soon", "-5m", "5x", "m", "1e30", "nan", "inf"])
def test_what_is_not_a_duration_is_an_error(typed: str) -> None:
    with pytest.raises(ValueError, match=r"duration|range"):
        values.parse_duration(typed)


def test_times_are_typed_absolute_or_before_or_after_now() -> None:
    assert values.parse_time("now", NOW).ToJsonString() == "2026-01-31T12:00:00Z"
    assert values.parse_time("-1h30m", NOW).ToJsonString() == "2026-01-31T10:30:00Z"
    assert values.parse_time("+2h", NOW).ToJsonString() == "2026-01-31T14:00:00Z"
    for nonsense in ("tomorrow", "+soon", "+300000000000"):
        with pytest.raises(ValueError, match=r"is not a|out of range"):
            values.parse_time(nonsense, NOW)
    assert (
        values.parse_time("2026-01-31T13:00:00+01:00", NOW).ToJsonString() == "2026-01-31T12:00:00Z"
    )


def test_times_are_shown_relative_to_now_or_exact() -> None:
    stamp = Timestamp()
    stamp.FromJsonString("2026-01-31T11:58:00Z")
    assert values.show_time(stamp, NOW) == "2m ago"
    assert values.show_time(stamp, NOW - dt.timedelta(hours=1)) == "in 58m"
    assert values.show_time(stamp, None) == "2026-01-31T11:58:00.000Z"
    assert values.show_time(Timestamp(seconds=1 << 60), None) == f"{1 << 60}s"
    assert values.show_duration(Duration(seconds=1, nanos=500_000_000)) == "1.5 s"
