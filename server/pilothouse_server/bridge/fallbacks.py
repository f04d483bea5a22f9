"""What is answered where there is nothing: errors with a name, also for what the router refuses by itself."""

from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pilothouse_server.bridge.errors import BridgeError, word
from pilothouse_server.bridge.gateway import no_such_method
from pilothouse_server.bridge.live import refuse

Handler = Callable[[Request], Awaitable[Response]]


class NoSuchSocket:
    """A WebSocket at a path that has none; an ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse it."""
        path = word(scope["path"])
        text = f"there is no WebSocket at {path}; it is at /ws/monitoring"
        await refuse(
            scope, receive, send, BridgeError("NOT_FOUND", "NO_SUCH_METHOD", text, {"path": path})
        )


async def not_a_socket(_: Request) -> Response:
    """A plain request to the path of the WebSocket."""
    text = "this is a WebSocket: connect with upgrade"
    headers = {"upgrade": "websocket", "connection": "upgrade"}
    return BridgeError(
        "UNIMPLEMENTED", "NO_SUCH_METHOD", text, http_status=426, headers=headers
    ).response()


def only_get(handler: Handler) -> Handler:
    """The handler, for GET and HEAD; any other method is told so here rather than passed on to the dashboard."""

    async def answer(request: Request) -> Response:
        if request.method in {"GET", "HEAD"}:
            return await handler(request)
        return no_such_method(request, {"GET", "HEAD"}).response()

    return answer


async def refused(request: Request, error: Exception) -> Response:
    """What the router refuses: a path for another HTTP method."""
    allowed = dict(error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
    return no_such_method(request, set(allowed.split(", ")) if allowed else set()).response()


async def fault(_: Request, __: Exception) -> Response:
    """A fault of the bridge: that there was one. The rest is in the log."""
    return BridgeError("INTERNAL", "INTERNAL", "a fault of the bridge; it was logged").response()
