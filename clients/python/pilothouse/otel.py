"""OpenTelemetry's spans to Pilothouse while they run, not only when they ended.

    from opentelemetry.sdk.trace import TracerProvider
    from pilothouse.otel import PilothouseSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(PilothouseSpanProcessor("127.0.0.1:50051"))

An exporter of OpenTelemetry is given a span when it ended; so nothing would be seen of what runs for an hour. This
sends each span that runs for longer than a moment when it began, and says from time to time that it still runs: a
process that dies falls silent, and its work is shown as not heard of. All of it is sent by a thread of its own, in
OpenTelemetry's own protocol. The application never waits and never sees an error; what had to be left out is counted
in `stats`.
Needs `pip install 'pilothouse[otel]'`.
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

try:
    from opentelemetry.context import (
        _SUPPRESS_INSTRUMENTATION_KEY,  # pyright: ignore[reportPrivateUsage] - what exporters use, too
        Context,
        attach,
        set_value,
    )
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )
    from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
except ImportError as missing:
    raise ImportError(
        "pilothouse.otel needs OpenTelemetry: pip install 'pilothouse[otel]'"
    ) from missing

from pilothouse._channel import DEFAULT_TARGET, DEFAULT_TIMEOUT, Tls
from pilothouse.client import Client
from pilothouse.errors import CallError, RateLimited, ResourceExhausted, ServerFault
from pilothouse.retry import NO_RETRY, Backoff, stream_may_resume

__all__ = ["PilothouseSpanProcessor", "SpanOptions", "SpanStats"]

log = logging.getLogger("pilothouse.otel")

METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HEARTBEAT = "pilothouse.heartbeat"
"""The attribute by which a span that has not ended says when its process was last alive, in nanoseconds since the
epoch."""
AGENT = "gen_ai.agent.name"
MAX_BYTES = 2 << 20
"""Of one request; a server takes 4 MiB unless it is told otherwise."""

Key = tuple[int, int]
"""Trace and span."""


@dataclass(frozen=True, kw_only=True)
class SpanOptions:
    """How spans are sent. Durations are seconds."""

    start_after: float = 0.4
    """A span that ended sooner is sent once, with its end; another is sent after this time, too."""
    pause: float = 0.25
    """The most that what is to be sent waits for more."""
    heartbeat: float = 30.0
    """Between two signs of life of a running span, the first of which comes that long after its beginning."""
    agent_heartbeat: float = 10.0
    """The same for a span of an agent: agents that say nothing for half a minute are shown as offline."""
    max_batch: int = 512
    """Spans in one request."""
    max_queue: int = 8192
    """Ended spans that wait to be sent; beyond it the newest are dropped."""
    max_running: int = 8192
    """Running spans that are followed; of others only the end is sent."""
    send_ends: bool = True
    """Whether ends are sent; False where an exporter sends them to the same server already."""

    def __post_init__(self) -> None:
        durations = (self.start_after, self.pause, self.heartbeat, self.agent_heartbeat)
        if min(durations) <= 0 or min(self.max_batch, self.max_queue, self.max_running) < 1:
            raise ValueError(f"not possible: {self}")


@dataclass(frozen=True)
class SpanStats:
    """What became of spans so far."""

    sent: int
    """Ended spans that the server has."""
    refused: int
    """Spans that the server did not take or that could not be sent; the reasons are in the log."""
    dropped: int
    """Ended spans that were left out because too many waited."""
    unfollowed: int
    """Spans of which only the end was sent, because too many ran."""
    waiting: int
    """Ended spans that wait to be sent."""
    running: int
    """Spans that run, and are followed."""


class PilothouseSpanProcessor(SpanProcessor):
    """See the module. Shut it down, or the provider that has it, so that nothing is lost at the end."""

    _stopping: bool
    _thread: threading.Thread

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        tls: Tls | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        options: SpanOptions | None = None,
    ) -> None:
        """`target` and `tls` are as for `pilothouse.Client`; `timeout` is the seconds that one request may take."""
        self._options = options or SpanOptions()
        self._connect: Callable[[], Client] = lambda: Client(
            target, tls=tls, timeout=timeout, retry=NO_RETRY
        )
        self._sent = self._refused = self._dropped = self._unfollowed = 0
        self._begin()
        again = weakref.WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: _call(again))

    @property
    def stats(self) -> SpanStats:
        """What became of spans so far."""
        with self._lock:
            return SpanStats(
                self._sent, self._refused, self._dropped, self._unfollowed, len(self._ended), len(self._running)
            )  # fmt: skip

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """See SpanProcessor."""
        del parent_context
        context = span.get_span_context()
        if not context.trace_flags.sampled or self._stopping:
            return
        key = (context.trace_id, context.span_id)
        due = time.monotonic() + self._options.start_after
        with self._lock:
            if len(self._running) >= self._options.max_running:
                self._unfollowed += 1
                return
            self._running[key] = span
            heapq.heappush(self._due, (due, key))
            if len(self._due) > 4 * self._options.max_running:
                # While nothing can be sent, those that ended meanwhile would gather in it.
                self._due[:] = [each for each in self._due if each[1] in self._running]
                heapq.heapify(self._due)

    def on_end(self, span: ReadableSpan) -> None:
        """See SpanProcessor."""
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled:
            return
        with self._lock:
            self._running.pop((context.trace_id, context.span_id), None)
            if not self._options.send_ends or self._stopping:
                return
            if len(self._ended) >= self._options.max_queue:
                self._dropped += 1
                return
            self._ended.append(span)
            full = len(self._ended) >= self._options.max_batch
        if full:
            self._wake.set()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Returns once all that ended before was sent or refused; False when that takes longer."""
        with self._settled:
            target = self._taken + len(self._ended)
            self._hurry.set()
            self._wake.set()
            return self._settled.wait_for(lambda: self._taken >= target, timeout_millis / 1000)

    def shutdown(self, within: float = DEFAULT_TIMEOUT) -> None:
        """Sends what is left, for so many seconds, and ends."""
        if self._stopping:
            return
        self._stopping = True
        deadline = time.monotonic() + within
        flushed = self.force_flush(round(within * 1000))
        self._stop.set()
        self._hurry.set()
        self._wake.set()
        self._thread.join(max(deadline - time.monotonic(), 0.1))
        if not flushed:
            log.warning("spans were not sent before the end: %d", len(self._ended))

    def _begin(self) -> None:
        """Makes what belongs to one process: after a fork the thread and the connection are the parent's."""
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._wake, self._hurry, self._stop = (
            threading.Event(),
            threading.Event(),
            threading.Event(),
        )
        self._running: dict[Key, Span] = {}
        self._due: list[tuple[float, Key]] = []
        self._ended: deque[ReadableSpan] = deque()
        self._taken = 0
        """Ended spans that left the queue, in whatever way."""
        self._stopping = False
        # Connected here: the first connection imports what a fork, a moment later, would find half imported.
        sending = _Sending(self._connect())
        self._thread = threading.Thread(
            target=self._run, args=(sending,), name="pilothouse-spans", daemon=True
        )
        self._thread.start()

    def _run(self, sending: _Sending) -> None:
        # What instruments gRPC would make spans of the sending of spans.
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        try:
            while not self._stop.is_set():
                self._wake.wait(self._options.pause)
                self._wake.clear()
                try:
                    while self._round(sending) and not self._stop.is_set():
                        pass
                except Exception:
                    # Whatever it was, the next round is another one, and there is nobody here who could be told.
                    log.exception("spans were not sent")
                    self._stop.wait(1.0)
        finally:
            sending.close()

    def _round(self, sending: _Sending) -> bool:
        """Sends one request, if there is anything to say; whether there is more to send at once."""
        running, ended = self._next()
        if not running and not ended:
            return False
        request, count = _fitting(ended)
        lost = 0 if request.resource_spans else count
        left = _add_running(request, running)
        wait = sending.send(request) if request.resource_spans else None
        now = time.monotonic()
        with self._settled:
            for span in running:
                later = self._interval(span) if wait is None else wait
                heapq.heappush(self._due, (now + (0 if span in left else later), _key(span)))
            if wait is None:
                for _ in range(count):
                    self._ended.popleft()
                self._taken += count
                refused = sending.refused + lost
                self._refused += refused
                self._sent += max(0, count - refused)
                self._settled.notify_all()
                more = count < len(ended) or len(self._ended) >= self._options.max_batch
                more = more or self._hurry.is_set()
                if not self._ended:
                    self._hurry.clear()
                return more and bool(self._ended)
        self._stop.wait(wait)
        return False

    def _next(self) -> tuple[Sequence[Span], Sequence[ReadableSpan]]:
        """What is to be said now: of running spans, and of those that ended, which stay in the queue until it was."""
        options, now = self._options, time.monotonic()
        running: list[Span] = []
        with self._lock:
            while self._due and self._due[0][0] <= now and len(running) < options.max_batch:
                _, key = heapq.heappop(self._due)
                span = self._running.get(key)
                if span is not None:
                    running.append(span)
            count = min(len(self._ended), options.max_batch)
            return running, [self._ended[index] for index in range(count)]

    def _interval(self, span: Span) -> float:
        """Seconds until the next sign of life of a span."""
        options = self._options
        return options.agent_heartbeat if _is_agent(span) else options.heartbeat


class _Sending:
    """The connection, and what became of the newest request."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._export = self._client.channel.unary_unary(
            METHOD,
            ExportTraceServiceRequest.SerializeToString,
            ExportTraceServiceResponse.FromString,
        )
        self._backoff = Backoff()
        self.refused = 0
        """Spans of the newest request that the server did not take."""

    def send(self, request: ExportTraceServiceRequest) -> float | None:
        """Seconds after which to try again; None when the server has answered."""
        self.refused = 0
        try:
            answer = self._export(request)
        except CallError as error:
            if _may_be_repeated(error):
                if self._backoff.failures == 0:
                    log.warning("spans cannot be sent now and are kept: %s", error)
                return self._backoff.next(error.retry_after)
            self.refused = _count(request)
            log.warning("%d spans were refused: %s", self.refused, error)
            return None
        if self._backoff.failures:
            log.info("spans are sent again")
        self._backoff.reset()
        self.refused = answer.partial_success.rejected_spans
        if self.refused:
            log.warning("%s", answer.partial_success.error_message)
        return None

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()


def _fitting(ended: Sequence[ReadableSpan]) -> tuple[ExportTraceServiceRequest, int]:
    """A request, and how many spans it disposes of: as many as fit, or one that can never be sent and is not in it."""
    count = len(ended)
    while count:
        request = _encoded(ended[:count])
        if request is not None:
            return request, count
        if count == 1:
            log.warning("a span cannot be sent: it is no Unicode, or larger than %d", MAX_BYTES)
            return ExportTraceServiceRequest(), 1
        count //= 2
    return ExportTraceServiceRequest(), 0


def _encoded(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest | None:
    """None for what cannot be sent in one request."""
    try:
        request = encode_spans(spans)
    except Exception:  # noqa: BLE001 - an application may put anything into a span, and change one that runs meanwhile
        return None
    return request if request.ByteSize() <= MAX_BYTES else None


def _add_running(request: ExportTraceServiceRequest, running: Sequence[Span]) -> Sequence[Span]:
    """Adds running spans as they are at this moment, with the time of it; those for which there was no room."""
    alive, size = time.time_ns(), request.ByteSize()
    for index, span in enumerate(running):
        one = _encoded([span])
        if one is None:
            continue
        own = one.ByteSize()
        if size + own > MAX_BYTES:
            return running[index:]
        for reported in one.resource_spans[0].scope_spans[0].spans:
            if not reported.end_time_unix_nano:
                reported.attributes.add(key=HEARTBEAT).value.int_value = alive
                request.resource_spans.extend(one.resource_spans)
                size += own
    return ()


def _may_be_repeated(error: CallError) -> bool:
    """As OpenTelemetry's protocol has it: too much is too much the next time, unless a time is named."""
    if isinstance(error, ResourceExhausted):
        return isinstance(error, RateLimited) or error.retry_after is not None
    return stream_may_resume(error) and not isinstance(error, ServerFault)


def _count(request: ExportTraceServiceRequest) -> int:
    return sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)


def _is_agent(span: Span) -> bool:
    attributes = span.attributes
    return attributes is not None and AGENT in attributes


def _key(span: Span) -> Key:
    context = span.get_span_context()
    return context.trace_id, context.span_id


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    begin = method()
    if begin is not None:
        begin()
