"""Three paths over HTTP for a server that runs without a bridge: is it alive, is it of use, and what does it count.

They show no workflow and steer nothing, so that the port can be given to a monitoring network that must not reach
the other ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncGenerator, Callable, Generator

import uvicorn
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pilothouse_server.services.status import StatusSource
from pilothouse_server.transport.server import PortTaken
from pilothouse_server.wire.platform import status_to_proto

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FRESH = {"cache-control": "no-store"}
MAX_CONNECTIONS = 64
LAST_REQUESTS = 1
"""Seconds that requests under way are given at the end."""


class _Probes:
    def __init__(self, source: StatusSource, meters: Callable[[], bytes]) -> None:
        self._source = source
        self._meters = meters

    async def healthz(self, _: Request) -> Response:
        return JSONResponse({"alive": True}, headers=FRESH)

    async def readyz(self, _: Request) -> Response:
        status = status_to_proto(await self._source.status())
        body = json_format.MessageToDict(
            status, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return JSONResponse(body, 200 if status.ready else 503, FRESH)

    async def metrics(self, _: Request) -> Response:
        return Response(self._meters(), media_type=METRICS_TYPE, headers=FRESH)


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@contextlib.asynccontextmanager
async def probes(
    host: str, port: int, source: StatusSource, meters: Callable[[], bytes]
) -> AsyncGenerator[int]:
    """Answers for as long as the block runs, which is given the port. Raises PortTaken."""
    made = _Probes(source, meters)
    app = Starlette(
        routes=[
            Route("/healthz", made.healthz),
            Route("/readyz", made.readyz),
            Route("/metrics", made.metrics),
        ]
    )
    listener = _listen(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=LAST_REQUESTS,
        )
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listener]), name="probes")
            try:
                yield listener.getsockname()[1]
            finally:
                server.should_exit = True
    finally:
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"{host}:{port}") from error
        raise
