"""The server's status, for the contract."""

from __future__ import annotations

from pilothouse.v1 import platform_pb2 as pb
from pilothouse_server.services.status import Component, Lease, LogShard, Replica, ServerStatus
from pilothouse_server.wire.times import duration, optional_duration, optional_timestamp, timestamp


def status_to_proto(status: ServerStatus) -> pb.ServerStatus:
    """What a server is and how it is."""
    readiness = status.readiness
    return pb.ServerStatus(
        ready=readiness.ready,
        state=pb.ComponentState.ValueType(readiness.state),
        reasons=readiness.reasons,
        version=status.version,
        replica_id=status.replica_id,
        start_time=timestamp(status.start_us),
        uptime=duration(status.uptime_us),
        log_address=status.log_address,
        database_address=status.database_address,
        components=map(_component, status.components),
        log_shards=map(_shard, status.log_shards),
        leases=map(_lease, status.leases),
        replicas=map(_replica, status.replicas),
    )


def _component(component: Component) -> pb.Component:
    return pb.Component(
        name=component.name,
        shard=component.shard,
        state=pb.ComponentState.ValueType(component.state),
        reason=component.reason,
        since_time=optional_timestamp(component.since_us),
        cursor=component.cursor,
        lag=optional_duration(component.lag_us),
    )


def _shard(shard: LogShard) -> pb.LogShard:
    return pb.LogShard(
        shard=shard.shard,
        stream=shard.stream,
        cursor=shard.cursor,
        dead_events=shard.dead_events,
        gaps=shard.gaps,
        rewinds=shard.rewinds,
    )


def _lease(lease: Lease) -> pb.Lease:
    return pb.Lease(
        name=lease.name,
        holder=lease.holder,
        epoch=lease.epoch,
        acquire_time=optional_timestamp(lease.acquire_us),
    )


def _replica(replica: Replica) -> pb.Replica:
    return pb.Replica(
        id=replica.id,
        version=replica.version,
        start_time=optional_timestamp(replica.start_us),
        leads=replica.leads,
        answers=replica.answers,
    )
