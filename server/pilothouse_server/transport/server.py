"""The gRPC server: which services it serves, with which limits, and how it starts and drains.

A method whose contract declares no role is not served at all: the server refuses to start. Of a service that others
wrote the contract of we say the role.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from pilothouse.v1 import options_pb2
from pilothouse_server.transport.interceptor import CallGuard, CallMeters

MAX_MESSAGE_BYTES = 4 * 1024 * 1024 + 64 * 1024
"""A full batch of events, and what surrounds it."""

LAST_WORDS = 0.5
"""Seconds in which the answers of calls that ended reach their callers, before connections are closed."""


class PortTaken(Exception):
    """Another process listens where we wanted to."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address


@dataclass(frozen=True, slots=True)
class Service:
    """One service: its descriptor and how it is added to a server."""

    descriptor: ServiceDescriptor
    add: Callable[[grpc.aio.Server], None]
    role: options_pb2.Role.ValueType = options_pb2.ROLE_UNSPECIFIED
    """Of all methods of a service whose contract is not ours."""


class RpcServer:
    """One gRPC server. `start` binds and returns the port; `drain` ends it."""

    def __init__(
        self, services: Iterable[Service], meters: CallMeters, *, max_streams: int = 4096
    ) -> None:
        self._services = list(services)
        for service in self._services:
            if service.role == options_pb2.ROLE_UNSPECIFIED:
                require_roles(service.descriptor)
        self._guard = CallGuard(meters)
        self._server = grpc.aio.server(
            interceptors=[self._guard],
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", max_streams),
                # Many streams opened at once are cancelled by grpc's small defaults.
                ("grpc.server.max_pending_requests", max_streams),
                ("grpc.server.max_pending_requests_hard_limit", 2 * max_streams),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
            ],
        )
        self._health = health.aio.HealthServicer()

    async def start(self, host: str, port: int) -> int:
        """Binds and serves; returns the port. Raises PortTaken."""
        for service in self._services:
            service.add(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [service.descriptor.full_name for service in self._services]
        reflection.enable_server_reflection(
            (*names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise PortTaken(f"{host}:{port}") from error
        await self._server.start()
        return bound

    async def set_serving(self, serving: bool) -> None:
        """What health checks are told."""
        state = (
            health_pb2.HealthCheckResponse.SERVING
            if serving
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for name in ("", *(service.descriptor.full_name for service in self._services)):
            await self._health.set(name, state)

    async def drain(self, grace: float) -> None:
        """Takes no new calls, sends watchers away, lets other calls end for `grace` seconds, and stops."""
        await self._health.enter_graceful_shutdown()
        await self._guard.under_way.drain(grace)
        await self._server.stop(min(grace, LAST_WORDS))


def require_roles(service: ServiceDescriptor) -> None:
    """Raises ValueError when a method declares no role."""
    for method in service.methods:
        if (
            method.GetOptions().Extensions[options_pb2.required_role]
            == options_pb2.ROLE_UNSPECIFIED
        ):
            raise ValueError(f"{method.full_name} declares no role, so it cannot be served")
