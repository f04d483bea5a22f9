"""The audit log: searched, proved and written down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from pilothouse.v1 import audit_pb2 as pb
from pilothouse.v1 import audit_pb2_grpc
from pilothouse_server.services.audit import Audit, Noted
from pilothouse_server.services.views import PageRequest
from pilothouse_server.wire.audit import entry_to_proto, progress_to_proto
from pilothouse_server.wire.audit_text import csv_lines, json_lines

Context = grpc.aio.ServicerContext[Any, Any]

PAGE = 50
"""Records on a page, where the request does not say how many."""


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """`pilothouse.v1.AuditService`."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def ListAuditEntries(
        self, request: pb.ListAuditEntriesRequest, context: Context
    ) -> pb.ListAuditEntriesResponse:
        asked = PageRequest(request.page_size or PAGE, request.page_token, request.filter)
        page = await self._audit.page(asked, ascending=request.ascending)
        return pb.ListAuditEntriesResponse(
            entries=map(entry_to_proto, page.items), next_page_token=page.next_token
        )

    async def VerifyAudit(
        self, request: pb.VerifyAuditRequest, context: Context
    ) -> AsyncIterator[pb.VerifyAuditResponse]:
        noted = Noted(request.expected_sequence, request.expected_hash)
        async with aclosing(self._audit.verify(request.from_sequence, noted)) as found:
            async for progress in found:
                yield progress_to_proto(progress)

    async def ExportAudit(
        self, request: pb.ExportAuditRequest, context: Context
    ) -> AsyncIterator[pb.ExportAuditResponse]:
        exported, csv = 0, request.format == pb.AUDIT_FORMAT_CSV
        async with aclosing(self._audit.export(request.filter)) as slices:
            async for entries in slices:
                text = csv_lines(entries, header=not exported) if csv else json_lines(entries)
                exported += len(entries)
                yield pb.ExportAuditResponse(text=text, exported=exported)
