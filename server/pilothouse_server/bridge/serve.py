"""Runs a bridge until it is told to stop. Signals are the caller's business."""

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Generator

import uvicorn

from pilothouse_server.bridge.app import Bridge, create_app
from pilothouse_server.bridge.http_socket import http_class
from pilothouse_server.bridge.live_socket import socket_class
from pilothouse_server.bridge.settings import BridgeSettings

BACKLOG = 4_096
KEEP_ALIVE = 30


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers, and with a word when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()


async def serve_bridge(
    settings: BridgeSettings,
    *,
    started: Callable[[int], None],
    stop: asyncio.Event,
    extra_metrics: Callable[[], bytes] | None = None,
) -> None:
    """Serve until `stop` is set, then drain. `started` gets the port. OSError when the address cannot be had."""
    listener = _listen(settings.host, settings.port)
    try:
        app = create_app(settings, extra_metrics)
        bridge: Bridge = app.state.bridge
        config = uvicorn.Config(
            app,
            http=http_class(settings),
            ws=socket_class(settings),
            ws_max_size=settings.max_frame,
            ws_ping_interval=settings.ping_interval,
            ws_ping_timeout=settings.ping_timeout,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            limit_concurrency=settings.max_connections + settings.max_requests,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=math.ceil(settings.drain),
        )
        server = _Server(config, lambda: started(listener.getsockname()[1]))
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(bridge.run(), name="bridge")
                tasks.create_task(_stop(stop, bridge, server), name="bridge stop")
                await server.serve(sockets=[listener])
                stop.set()
                running.cancel()
        finally:
            _hang_up(server)
    finally:
        listener.close()


def _hang_up(server: uvicorn.Server) -> None:
    """Closes what is left when the bridge was cancelled rather than told to stop."""
    if server.started:
        for listening in server.servers:
            listening.close()
    for connection in list(server.server_state.connections):
        connection.transport.abort()


async def _stop(stop: asyncio.Event, bridge: Bridge, server: uvicorn.Server) -> None:
    await stop.wait()
    await bridge.board.drain()
    server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)
