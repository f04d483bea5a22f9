"""Every refusal of the domain has one code and one reason of the contract."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from google.rpc import error_details_pb2, status_pb2

import pilothouse_server
from pilothouse.v1 import error_reason_pb2
from pilothouse_server.domain import errors
from pilothouse_server.transport.status import bad_request, internal, refusal_of, status_of

SERVER = Path(pilothouse_server.__file__).parent
RAISED = re.compile(r"\b(?:Unavailable|Misconfigured)\(\s*\"(\w+)\"")
UNAVAILABLE = sorted(
    {"board", "log"}
    | {what for file in SERVER.rglob("*.py") for what in RAISED.findall(file.read_text("utf-8"))}
)
"""Everything that the server may say is away."""

SAMPLES: list[errors.PilothouseError] = [
    errors.InvalidArgument("reason", "is too long"),
    errors.InvalidFilter(4, "a field"),
    errors.InvalidPageToken(),
    errors.InvalidResumeToken(),
    *(
        errors.NotFound(kind, "x")
        for kind in ("workflow", "agent", "command", "alert", "rule", "dead_event", "batch")
    ),
    errors.IllegalTransition("pause", "COMPLETED", ""),
    errors.CommandPending("c1", "pause"),
    errors.UnsupportedByEngine("pause", "engine"),
    errors.NoExecutor("engine"),
    errors.EngineConnected("engine"),
    errors.CommandEnded("c1", "EXPIRED"),
    errors.AlertResolved("a1"),
    errors.NotConfirmed("120"),
    errors.WrongState("batch", "b1", "DONE", "stop"),
    errors.DeadEventTruncated("0-1-1"),
    errors.EtagMismatch("workflow", "w1", "abc"),
    errors.RequestIdReused("r1"),
    errors.NotCommandOwner("c1", "engine"),
    errors.ExecutorReplaced("engine"),
    errors.LimitExceeded("events in a batch", 1000, 1001),
    errors.AlreadyThere("channel", "name", "Ops"),
    errors.StillNamed("channel", "ops", "rule error-rate"),
    errors.NoSecretKey("PILOTHOUSE_SECRET_KEY"),
    errors.DeliveryOver("d1", "SENT"),
    errors.Busy("backtests", 2),
    *(errors.Unavailable(what, "gone") for what in UNAVAILABLE),
    errors.Misconfigured("log", "wrong password"),
]


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    found: list[error_details_pb2.ErrorInfo] = []
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            found.append(info)
    assert len(found) == 1
    return found[0]


def test_every_error_of_the_domain_has_a_sample() -> None:
    classes = {
        item
        for _, item in inspect.getmembers(errors, inspect.isclass)
        if issubclass(item, errors.PilothouseError) and item is not errors.PilothouseError
    }

    assert {type(sample) for sample in SAMPLES} == classes


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: repr(error)[:60])
def test_an_error_becomes_one_reason_of_the_contract_with_its_words(
    error: errors.PilothouseError,
) -> None:
    status = status_of(error)

    info = info_of(status)
    assert error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{info.reason}")
    assert info.domain == "pilothouse.dev"
    assert status.message == error.message
    assert status.code == refusal_of(error).code.value[0]


def test_words_that_change_are_in_the_metadata() -> None:
    info = info_of(status_of(errors.IllegalTransition("pause", "FAILED", "retry")))

    assert dict(info.metadata) == {"action": "pause", "state": "FAILED", "legal_actions": "retry"}


@pytest.mark.parametrize(
    "error",
    [
        errors.Unavailable("log", "the disk is full", 2_500_000),
        errors.Busy("backtests", 2, 2_500_000),
    ],
)
def test_what_may_go_better_later_says_when_to_try_again(error: errors.PilothouseError) -> None:
    status = status_of(error)

    retry = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert retry.retry_delay.ToMicroseconds() == 2_500_000


def test_a_broken_rule_is_named_by_its_field() -> None:
    status = bad_request([("page_size", "must be at most 500"), ("filter", "is too long")])

    details = error_details_pb2.BadRequest()
    assert any(detail.Unpack(details) for detail in status.details)
    assert [violation.field for violation in details.field_violations] == ["page_size", "filter"]
    assert info_of(status).reason == "INVALID_ARGUMENT"


def test_a_fault_of_the_server_tells_nothing_but_where_to_look() -> None:
    status = internal("req-1")

    assert info_of(status).metadata["request_id"] == "req-1"
    assert "req-1" in status.message
