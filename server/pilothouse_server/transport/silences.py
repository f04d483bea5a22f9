"""Silences: made, seen, tried and ended."""

from __future__ import annotations

from typing import Any

import grpc

from pilothouse.v1 import silences_pb2 as pb
from pilothouse.v1 import silences_pb2_grpc
from pilothouse_server.services.alerts.silencing import Silences
from pilothouse_server.transport.caller import actor
from pilothouse_server.wire.silences import draft_from_proto, preview_to_proto, silence_to_proto

Context = grpc.aio.ServicerContext[Any, Any]

PAGE_SIZE = 50


class SilenceServicer(silences_pb2_grpc.SilenceServiceServicer):
    """`pilothouse.v1.SilenceService`."""

    def __init__(self, silences: Silences) -> None:
        self._silences = silences

    async def CreateSilence(
        self, request: pb.CreateSilenceRequest, context: Context
    ) -> pb.CreateSilenceResponse:
        draft = draft_from_proto(request.silence)
        view = await self._silences.create(
            draft, actor=actor(context), request_id=request.request_id.lower()
        )
        return pb.CreateSilenceResponse(silence=silence_to_proto(view))

    async def ListSilences(
        self, request: pb.ListSilencesRequest, context: Context
    ) -> pb.ListSilencesResponse:
        views, following = await self._silences.page(
            request.page_size or PAGE_SIZE, request.page_token, expired=request.include_expired
        )
        return pb.ListSilencesResponse(
            silences=map(silence_to_proto, views), next_page_token=following
        )

    async def GetSilence(
        self, request: pb.GetSilenceRequest, context: Context
    ) -> pb.GetSilenceResponse:
        view = await self._silences.get(request.silence_id)
        return pb.GetSilenceResponse(silence=silence_to_proto(view))

    async def ExpireSilence(
        self, request: pb.ExpireSilenceRequest, context: Context
    ) -> pb.ExpireSilenceResponse:
        view = await self._silences.expire(
            request.silence_id, actor=actor(context), reason=request.reason
        )
        return pb.ExpireSilenceResponse(silence=silence_to_proto(view))

    async def PreviewSilence(
        self, request: pb.PreviewSilenceRequest, context: Context
    ) -> pb.PreviewSilenceResponse:
        preview = await self._silences.preview(draft_from_proto(request.silence))
        return preview_to_proto(preview)
