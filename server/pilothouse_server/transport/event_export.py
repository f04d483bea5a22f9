"""Events written down, in parts that are not larger than a message should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import grpc

from pilothouse.v1 import events_pb2 as pb
from pilothouse_server.services.event_export import export
from pilothouse_server.services.views import EventViews
from pilothouse_server.wire.event_text import csv_heading, csv_line, json_line
from pilothouse_server.wire.events import stored_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

PART: Final = 256 * 1024
"""Characters of a part, at most by one event."""


class EventExport:
    """`ExportEvents`."""

    def __init__(self, views: EventViews) -> None:
        self._views = views

    async def export(
        self, request: pb.ExportEventsRequest, context: Context
    ) -> AsyncIterator[pb.ExportEventsResponse]:
        """Raises InvalidFilter, Unavailable."""
        csv = request.format == pb.EVENT_FORMAT_CSV
        line = csv_line if csv else json_line
        lines = [csv_heading()] if csv else []
        exported, progress, size = 0, 0.0, 0
        async with aclosing(export(self._views, request.filter)) as slices:
            async for some in slices:
                for stored in some.events:
                    lines.append(line(stored_to_proto(stored)))
                    exported, size = exported + 1, size + len(lines[-1])
                    if size >= PART:
                        yield _part(lines, exported, progress)
                        lines, size = [], 0
                progress = some.progress
                yield _part(lines, exported, progress)
                lines, size = [], 0
                await asyncio.sleep(0)
        yield pb.ExportEventsResponse(exported=exported, progress=1, complete=True)


def _part(lines: list[str], exported: int, progress: float) -> pb.ExportEventsResponse:
    return pb.ExportEventsResponse(text="".join(lines), exported=exported, progress=progress)
