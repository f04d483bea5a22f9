"""What serves channels and escalations over gRPC, and what one asks of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from pilothouse.errors import CallError, from_rpc_error
from pilothouse.v1 import channels_pb2 as pb
from pilothouse.v1 import channels_pb2_grpc, escalations_pb2
from pilothouse.v1 import escalations_pb2_grpc as escalations_grpc
from pilothouse_server.adapters.clock import SystemClock
from pilothouse_server.adapters.notifying.sender import Sender
from pilothouse_server.adapters.sql.channel_store import SqlChannels
from pilothouse_server.adapters.sql.database import Database
from pilothouse_server.adapters.sql.escalation_store import SqlEscalations
from pilothouse_server.services.channels import ChannelHealth, Channels
from pilothouse_server.services.escalations import Escalations
from pilothouse_server.services.fanout import Changes
from pilothouse_server.services.ids import uuid7
from pilothouse_server.transport.channels import ChannelServicer
from pilothouse_server.transport.escalations import EscalationServicer
from pilothouse_server.transport.server import Service


class House:
    """What serves channels and escalations."""

    def __init__(self, database: Database, sender: Sender) -> None:
        self.database = database
        self.changes = Changes()
        self.healths: dict[str, ChannelHealth] = {}
        self.channels = Channels(
            SqlChannels(database),
            sender.sealing,
            sender,
            SystemClock(),
            self.changes,
            uuid7,
            self._healths,
        )
        self.escalations = Escalations(SqlEscalations(database), SystemClock(), self.changes)

    async def _healths(self) -> Mapping[str, ChannelHealth]:
        return self.healths

    def services(self) -> list[Service]:
        """To be served."""
        channels, escalations = ChannelServicer(self.channels), EscalationServicer(self.escalations)
        return [
            Service(
                pb.DESCRIPTOR.services_by_name["ChannelService"],
                lambda server: channels_pb2_grpc.add_ChannelServiceServicer_to_server(
                    channels, server
                ),
            ),
            Service(
                escalations_pb2.DESCRIPTOR.services_by_name["EscalationService"],
                lambda server: escalations_grpc.add_EscalationServiceServicer_to_server(
                    escalations, server
                ),
            ),
        ]


def webhook(url: str = "http://127.0.0.1:9/hook", **fields: Any) -> pb.Channel:
    """One with everything that is secret."""
    target = pb.WebhookChannel(
        url=f"{url}?key=qu3ry", secret="s3cret", headers={"Authorization": "t0ken"}
    )
    given: dict[str, Any] = {"name": "Ops", "enabled": True, "webhook": target, **fields}
    return pb.Channel(**given)


async def refused(call: Any) -> CallError:
    """What a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return from_rpc_error(failed.value)


async def make(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub, channel: pb.Channel, request_id: str = ""
) -> pb.Channel:
    request = pb.CreateChannelRequest(channel=channel, request_id=request_id)
    return (await channels.CreateChannel(request)).channel


async def update(
    channels: channels_pb2_grpc.ChannelServiceAsyncStub,
    channel: pb.Channel,
    *paths: str,
    etag: str = "",
) -> pb.Channel:
    request = pb.UpdateChannelRequest(
        channel=channel, update_mask=FieldMask(paths=paths), etag=etag
    )
    return (await channels.UpdateChannel(request)).channel


def escalation(*after: int, channel: str = "ops") -> escalations_pb2.Escalation:
    """Steps so many seconds after the alert fired."""
    steps = [
        escalations_pb2.EscalationStep(after=Duration(seconds=each), channels=[channel])
        for each in after
    ]
    return escalations_pb2.Escalation(name="On call", steps=steps)
