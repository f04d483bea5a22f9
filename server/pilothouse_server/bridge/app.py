"""The bridge's parts, put together. `create_app` needs a running loop, and `Bridge.run` moves the frames
while the app is served.
"""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from pilothouse.aio_routes import open_channel
from pilothouse_server.bridge.comments import load_comments
from pilothouse_server.bridge.fallbacks import NoSuchSocket, fault, not_a_socket, only_get, refused
from pilothouse_server.bridge.gateway import Gateway
from pilothouse_server.bridge.guard import Guard
from pilothouse_server.bridge.live import LiveEndpoint
from pilothouse_server.bridge.openapi import describe
from pilothouse_server.bridge.otlp import OtlpGateway
from pilothouse_server.bridge.probes import Probes
from pilothouse_server.bridge.realtime import Realtime
from pilothouse_server.bridge.settings import BridgeSettings
from pilothouse_server.bridge.static import Dashboard
from pilothouse_server.bridge.switchboard import Switchboard

MAX_MESSAGE = 16 * 1024 * 1024
ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
COMMON_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    # A replica that is frozen, or whose machine is gone, says nothing: it is given up after 10 seconds.
    ("grpc.keepalive_time_ms", 7_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
STREAM_OPTIONS: list[tuple[str, int | str]] = [
    *COMMON_OPTIONS,
    # Without a bound the server runs megabytes ahead of a reader that is busy, and what it reads then is old.
    ("grpc.http2.lookahead_bytes", 64 * 1024),
    ("grpc.http2.bdp_probe", 0),
]


class Bridge:
    """The connections to the server, and what moves frames."""

    def __init__(self, settings: BridgeSettings) -> None:
        self.settings = settings
        self.calls = open_channel(settings.server, COMMON_OPTIONS)
        self.streams = open_channel(settings.server, STREAM_OPTIONS)
        self.board = Switchboard(settings, self.streams)

    async def run(self) -> None:
        """Move frames until cancelled; then close the connections to the server."""
        try:
            await self.board.run()
        finally:
            await self.streams.close()
            await self.calls.close()


def create_app(
    settings: BridgeSettings, extra_metrics: Callable[[], bytes] | None = None
) -> Starlette:
    """The application; its `state.bridge` is the Bridge to run beside it."""
    bridge = Bridge(settings)
    gateway = Gateway(settings, bridge.calls)
    otlp = OtlpGateway(gateway, settings.max_body)
    probes = Probes(bridge.board, bridge.calls, extra_metrics)
    realtime = Realtime(bridge.board.channels["metrics:realtime"], settings.snapshot_ttl)
    description = describe(gateway.bindings, load_comments())

    async def openapi(_: Request) -> Response:
        return JSONResponse(description, headers={"cache-control": "no-cache"})

    app = Starlette(
        routes=[
            WebSocketRoute("/ws/monitoring", LiveEndpoint(bridge.board)),
            WebSocketRoute("/{path:path}", NoSuchSocket()),
            Route("/ws/monitoring", not_a_socket, methods=ALL_METHODS),
            Route("/openapi.json", only_get(openapi), methods=ALL_METHODS),
            Route(
                "/api/v1/monitoring/metrics/realtime",
                only_get(realtime.__call__),
                methods=ALL_METHODS,
            ),
            Route("/api/{path:path}", gateway.rest, methods=ALL_METHODS),
            Route("/pilothouse.v1.{method:path}", gateway.unary, methods=ALL_METHODS),
            Route("/v1/traces", otlp.traces, methods=ALL_METHODS),
            Route("/v1/{signal}", otlp.other, methods=ALL_METHODS),
            Route("/healthz", only_get(probes.healthz), methods=ALL_METHODS),
            Route("/readyz", only_get(probes.readyz), methods=ALL_METHODS),
            Route("/metrics", only_get(probes.metrics), methods=ALL_METHODS),
            Route("/{path:path}", Dashboard(settings.static_dir).__call__, methods=ALL_METHODS),
        ],
        middleware=[Middleware(Guard, settings=settings)],
        exception_handlers={404: refused, 405: refused, 500: fault},
    )
    app.state.bridge = bridge
    return app
