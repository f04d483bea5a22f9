"""The configuration of the platform: read, changed and followed on any replica."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from pilothouse.v1 import config_pb2 as pb
from pilothouse.v1 import config_pb2_grpc
from pilothouse_server.services.configuration import Configuration, Edit, etag_of
from pilothouse_server.transport.caller import actor
from pilothouse_server.wire.config import (
    changes_to_proto,
    config_to_proto,
    overrides_from_proto,
    paths_of,
    version_to_proto,
)

Context = grpc.aio.ServicerContext[Any, Any]

PAGE = 50
"""Versions on a page, where the request does not say how many."""


class ConfigServicer(config_pb2_grpc.ConfigServiceServicer):
    """`pilothouse.v1.ConfigService`."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    async def GetConfig(
        self, request: pb.GetConfigRequest, context: Context
    ) -> pb.GetConfigResponse:
        # From the database: what another replica set a moment ago is known here, too.
        await self._configuration.start()
        version = self._configuration.version
        return pb.GetConfigResponse(
            current=version_to_proto(version),
            effective=config_to_proto(self._configuration.current()),
            defaults=config_to_proto(self._configuration.defaults),
            etag=etag_of(version),
        )

    async def UpdateConfig(
        self, request: pb.UpdateConfigRequest, context: Context
    ) -> pb.UpdateConfigResponse:
        values = overrides_from_proto(request.config)
        # A UUID is one value however it is written.
        edit = Edit(
            actor(context),
            request.reason,
            request.request_id.lower(),
            request.etag,
            request.validate_only,
        )
        paths = paths_of(request.update_mask, values)
        done = await self._configuration.update(values, paths, edit)
        return pb.UpdateConfigResponse(
            current=version_to_proto(done.current),
            changes=changes_to_proto(done.changes),
            etag=etag_of(done.current),
        )

    async def ListConfigVersions(
        self, request: pb.ListConfigVersionsRequest, context: Context
    ) -> pb.ListConfigVersionsResponse:
        page = await self._configuration.versions(request.page_size or PAGE, request.page_token)
        return pb.ListConfigVersionsResponse(
            versions=map(version_to_proto, page.versions), next_page_token=page.next_token
        )

    async def DiffConfig(
        self, request: pb.DiffConfigRequest, context: Context
    ) -> pb.DiffConfigResponse:
        changes = await self._configuration.diff(request.from_version, request.to_version)
        return pb.DiffConfigResponse(changes=changes_to_proto(changes))

    async def RestoreConfig(
        self, request: pb.RestoreConfigRequest, context: Context
    ) -> pb.RestoreConfigResponse:
        edit = Edit(actor(context), request.reason, request.request_id.lower(), request.etag)
        done = await self._configuration.restore(request.version, edit)
        return pb.RestoreConfigResponse(
            current=version_to_proto(done.current),
            changes=changes_to_proto(done.changes),
            etag=etag_of(done.current),
        )

    async def WatchConfig(
        self, request: pb.WatchConfigRequest, context: Context
    ) -> AsyncIterator[pb.WatchConfigResponse]:
        async for version, config in self._configuration.watch():
            yield pb.WatchConfigResponse(
                current=version_to_proto(version), effective=config_to_proto(config)
            )
