"""The synchronous client with nothing behind it: the test plays the server, one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
import grpc_testing
import pytest

import pilothouse
from pilothouse.errors import EtagMismatch, Unavailable
from pilothouse.retry import RetryPolicy
from pilothouse.v1 import metrics_pb2, workflows_pb2
from pilothouse.v1.enums_pb2 import CONTROL_ACTION_CANCEL
from tests.client.support import Failure, trailing_metadata

T = TypeVar("T")

WORKFLOWS = workflows_pb2.DESCRIPTOR.services_by_name["WorkflowService"]
METRICS = metrics_pb2.DESCRIPTOR.services_by_name["MetricsService"]


class Stage:
    """A client on a channel whose other end is the test."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        testing: Any = grpc_testing  # has no types
        self.channel = testing.channel([WORKFLOWS, METRICS], testing.strict_real_time())
        retry = RetryPolicy(attempts=3, initial_delay=0.01, max_delay=0.01)
        self.client = pilothouse.Client(channel=self.channel, retry=retry)
        self._threads = threads

    def begin(self, work: Callable[[pilothouse.Client], T]) -> Future[T]:
        """Let the client work in a thread of its own."""
        return self._threads.submit(work, self.client)

    def take(self, service: Any, method: str) -> tuple[Any, Any]:
        """The next call of `method`: the request, and what answers it."""
        _, request, call = self.channel.take_unary_unary(service.methods_by_name[method])
        return request, call


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ThreadPoolExecutor(2) as threads:
        yield Stage(threads)


def refuse(call: Any, failure: Failure) -> None:
    call.terminate(None, trailing_metadata(failure), failure.code, failure.message)


def test_a_call_is_what_the_handle_says(stage: Stage) -> None:
    pending = stage.begin(lambda client: client.workflow("wf-1").cancel(reason="enough", etag="e7"))
    request, call = stage.take(WORKFLOWS, "ControlWorkflow")
    assert (request.workflow_id, request.reason, request.etag) == ("wf-1", "enough", "e7")
    assert request.action == CONTROL_ACTION_CANCEL
    assert len(request.request_id) == 36
    response = workflows_pb2.ControlWorkflowResponse()
    response.command.id = "c-1"
    call.terminate(response, (), grpc.StatusCode.OK, "")
    assert pending.result(30).id == "c-1"


def test_a_repeat_has_the_same_request_id(stage: Stage) -> None:
    pending = stage.begin(lambda client: client.workflow("wf-1").pause())
    first, call = stage.take(WORKFLOWS, "ControlWorkflow")
    refuse(call, Failure())
    second, call = stage.take(WORKFLOWS, "ControlWorkflow")
    call.terminate(workflows_pb2.ControlWorkflowResponse(), (), grpc.StatusCode.OK, "")
    pending.result(30)
    assert first == second


def test_tries_end_with_the_error(stage: Stage) -> None:
    pending = stage.begin(lambda client: client.get_metrics())
    for _ in range(3):
        _, call = stage.take(METRICS, "GetMetrics")
        refuse(call, Failure(message="away"))
    with pytest.raises(Unavailable, match="away"):
        pending.result(30)


def test_a_refusal_is_typed_and_not_repeated(stage: Stage) -> None:
    pending = stage.begin(lambda client: client.workflow("wf-1").resume(etag="old"))
    _, call = stage.take(WORKFLOWS, "ControlWorkflow")
    refuse(call, Failure(grpc.StatusCode.ABORTED, "stale", "ETAG_MISMATCH", {"etag": "new"}))
    with pytest.raises(EtagMismatch) as caught:
        pending.result(30)
    assert caught.value.metadata == {"etag": "new"}


def test_a_client_is_shared_by_threads(stage: Stage) -> None:
    both = threading.Barrier(2)

    def work(client: pilothouse.Client) -> int:
        both.wait(30)
        return client.get_metrics().sequence

    pending = [stage.begin(work), stage.begin(work)]
    for _ in pending:
        _, call = stage.take(METRICS, "GetMetrics")
        snapshot = metrics_pb2.MetricsSnapshot(sequence=3)
        answer = metrics_pb2.GetMetricsResponse(snapshot=snapshot)
        call.terminate(answer, (), grpc.StatusCode.OK, "")
    assert [each.result(30) for each in pending] == [3, 3]
