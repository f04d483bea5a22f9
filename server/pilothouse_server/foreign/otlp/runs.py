"""Which span stands for a run, where one span alone cannot tell.

A piece of GenAI work says its trace, not what it is part of. So when a trace's root is of no convention (a request to
a web service, say) it is the run as soon as both were seen, whichever came first; and of several spans in a trace that
call themselves a run the first that is heard of is it: in one request, and with the client's span processor, that is
the outermost. Where this is forgotten the run stays open, or is shown from one span further in.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from pilothouse_server.foreign.otlp.conventions import Outcome

MAX_TRACES: Final = 20_000
"""Traces that are remembered; those not heard of for longest go first."""


class Root(NamedTuple):
    """A trace's root that is of no convention."""

    trace_id: str
    span_id: str
    name: str
    source: str
    start_us: int
    end_us: int | None
    outcome: Outcome
    message: str
    """Of its error."""


@dataclass(slots=True)
class _Seen:
    run: str = ""
    """The span that is the run, once that is known."""
    works: bool = False
    """Some of its spans are work."""
    root: Root | None = None


class Runs:
    """What was seen of the newest traces."""

    def __init__(self, most: int = MAX_TRACES) -> None:
        self._most = most
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self.forgotten = 0
        """Traces that went because there were too many."""

    def is_run(self, trace_id: str, span_id: str) -> bool:
        """Whether this span, which calls itself a run, is the one."""
        seen = self._of(trace_id)
        seen.run = seen.run or span_id
        return seen.run == span_id

    def work(self, trace_id: str) -> Root | None:
        """There is work in the trace; the root that is therefore a run, unless it was one already."""
        seen = self._of(trace_id)
        seen.works = True
        if seen.root is None or seen.run:
            return None
        seen.run = seen.root.span_id
        return seen.root

    def root(self, root: Root) -> bool:
        """Whether this root is a run, as far as was seen yet."""
        seen = self._of(root.trace_id)
        seen.root = root
        if seen.works and not seen.run:
            seen.run = root.span_id
        return seen.run == root.span_id

    def _of(self, trace_id: str) -> _Seen:
        seen = self._seen.get(trace_id)
        if seen is not None:
            self._seen.move_to_end(trace_id)
            return seen
        seen = self._seen[trace_id] = _Seen()
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
            self.forgotten += 1
        return seen
