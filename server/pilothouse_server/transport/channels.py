"""Channels: where notifications go."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from pilothouse.v1 import channels_pb2 as pb
from pilothouse.v1 import channels_pb2_grpc
from pilothouse_server.domain.errors import InvalidArgument
from pilothouse_server.domain.notifications.channels import Channel
from pilothouse_server.services.channels import Channels, Draft
from pilothouse_server.transport import masks
from pilothouse_server.transport.caller import actor
from pilothouse_server.wire.channels import (
    CHANGEABLE,
    channel_from_proto,
    channel_to_proto,
    tested_to_proto,
    view_to_proto,
)

Context = grpc.aio.ServicerContext[Any, Any]
OPTIONAL = ("webhook", "cloud_events", "apprise", "enabled")


class ChannelServicer(channels_pb2_grpc.ChannelServiceServicer):
    """`pilothouse.v1.ChannelService`."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def CreateChannel(
        self, request: pb.CreateChannelRequest, context: Context
    ) -> pb.CreateChannelResponse:
        view = await self._channels.create(
            channel_from_proto(request.channel),
            actor=actor(context),
            request_id=request.request_id.lower(),
        )
        return pb.CreateChannelResponse(channel=view_to_proto(view))

    async def ListChannels(
        self, request: pb.ListChannelsRequest, context: Context
    ) -> pb.ListChannelsResponse:
        return pb.ListChannelsResponse(channels=map(view_to_proto, await self._channels.every()))

    async def GetChannel(
        self, request: pb.GetChannelRequest, context: Context
    ) -> pb.GetChannelResponse:
        view = await self._channels.get(request.channel_id)
        return pb.GetChannelResponse(channel=view_to_proto(view))

    async def UpdateChannel(
        self, request: pb.UpdateChannelRequest, context: Context
    ) -> pb.UpdateChannelResponse:
        wanted = request.channel
        if not wanted.id:
            raise InvalidArgument("channel.id", "names the channel that is to be changed")
        mask = masks.checked(request.update_mask, pb.Channel.DESCRIPTOR, CHANGEABLE)
        if not request.update_mask.paths:
            # What is not said of these is not said against them.
            said = {wanted.WhichOneof("target"), "enabled" if wanted.HasField("enabled") else ""}
            paths = [each for each in mask.paths if each not in OPTIONAL or each in said]
            mask = FieldMask(paths=paths)

        def change(stored: Channel) -> Draft:
            message = channel_to_proto(stored)
            masks.merged(message, wanted, mask, "channel")
            return channel_from_proto(message)

        view = await self._channels.update(
            wanted.id, change, etag=request.etag, actor=actor(context)
        )
        return pb.UpdateChannelResponse(channel=view_to_proto(view))

    async def DeleteChannel(
        self, request: pb.DeleteChannelRequest, context: Context
    ) -> pb.DeleteChannelResponse:
        await self._channels.delete(request.channel_id, etag=request.etag, actor=actor(context))
        return pb.DeleteChannelResponse()

    async def TestChannel(
        self, request: pb.TestChannelRequest, context: Context
    ) -> pb.TestChannelResponse:
        draft = channel_from_proto(request.channel) if request.HasField("channel") else None
        return tested_to_proto(await self._channels.test(request.channel_id, draft))
