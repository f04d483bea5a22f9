"""Which pages may use the bridge, and the headers that every answer has.

A browser sends `Origin` with every WebSocket handshake and every unsafe request that a page makes. It must be
the bridge's own (the scheme and `Host` of the request) or one that is allowed in the settings; programs send
none and pass. A bridge on a loopback address answers only to local names, since a hostile page can let its
own name point there (DNS rebinding).
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pilothouse_server.bridge.errors import BridgeError, word
from pilothouse_server.bridge.live import refuse
from pilothouse_server.bridge.settings import BridgeSettings

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
PORTS = {"http": 80, "https": 443}
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; object-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: BridgeSettings) -> None:
        self._app = app
        self._settings = settings
        self._local = is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer why not."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        error = self._error(scope)
        if scope["type"] == "websocket":
            if error is not None:
                await refuse(scope, receive, send, error)
            else:
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        shared = origin if origin in self._settings.allowed_origins else None

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _decorate(MutableHeaders(scope=message), shared)
            await send(message)

        if error is not None:
            await error.response()(scope, receive, send_with_headers)
        elif scope["method"] == "OPTIONS" and shared and "access-control-request-method" in headers:
            await _preflight()(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _error(self, scope: Scope) -> BridgeError | None:
        headers = Headers(scope=scope)
        return self._host_error(headers) or self._origin_error(
            scope, headers, headers.get("origin")
        )

    def _host_error(self, headers: Headers) -> BridgeError | None:
        host = headers.get("host", "")
        name = _name_of(host)
        allowed = self._settings.allowed_hosts
        if name in LOCAL_NAMES or name in allowed or name == self._settings.host.lower():
            return None
        if not self._local and not allowed:
            return None
        text = "this bridge is local: it does not answer to this name"
        return BridgeError("PERMISSION_DENIED", "HOST_NOT_ALLOWED", text, {"host": word(host)})

    def _origin_error(
        self, scope: Scope, headers: Headers, origin: str | None
    ) -> BridgeError | None:
        if origin is None or origin in self._settings.allowed_origins:
            return None
        if scope["type"] == "http" and scope["method"] in SAFE:
            return None
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        if _endpoint(origin) == _endpoint(f"{scheme}://{headers.get('host', '')}") is not None:
            return None
        text = "pages of this origin may not use this bridge"
        return BridgeError(
            "PERMISSION_DENIED", "ORIGIN_NOT_ALLOWED", text, {"origin": word(origin)}
        )


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _endpoint(origin: str) -> tuple[str, str, int] | None:
    """Scheme, name and port of an origin; None for "null" and what is no origin."""
    try:
        parts = urlsplit(origin)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname or parts.path or parts.query:
        return None
    return parts.scheme, parts.hostname, port


def _decorate(headers: MutableHeaders, shared: str | None) -> None:
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    if shared:
        headers["access-control-allow-origin"] = shared
        headers["cross-origin-resource-policy"] = "cross-origin"
        headers.add_vary_header("Origin")


def _preflight() -> Response:
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
            "access-control-allow-headers": "content-type",
            "access-control-max-age": "600",
        },
    )
