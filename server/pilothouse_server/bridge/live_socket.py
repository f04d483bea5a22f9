"""The server's end of one WebSocket, on uvicorn's own protocol, with what fan-out needs and ASGI cannot say.

ASGI's `send` is a coroutine that waits for the slowest reader. Here bytes that were framed once go straight
to the transport, and `blocked` says that enough of them wait. A closed socket is cut off after a moment,
since `transport.close()` alone waits for ever for a peer that reads no more.

Close codes: 4400 too many requests in error, 4408 did not keep up, 4429 too many messages, 1009 message too
large, 1007 text that is not UTF-8, 1011 no answer to a ping or a fault of the bridge, 1012 the bridge
restarts.
"""

import asyncio
import logging
import socket
from asyncio.transports import BaseTransport
from typing import Any, Protocol

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import Frame

from pilothouse_server.bridge.rate import TokenBucket
from pilothouse_server.bridge.settings import BridgeSettings

EXTENSION = "pilothouse.socket"
FAIL_ERRORS = 4400
FAIL_STALLED = 4408
FAIL_RATE = 4429
FAIL_FAULT = 1011
RESTART = 1012
MAX_REASON = 120

logger = logging.getLogger(__name__)


class SocketUser(Protocol):
    """Who is told what happens on a socket."""

    def blocked(self) -> None:
        """Too much waits: give it nothing more."""
        ...

    def writable(self) -> None:
        """What waited is gone."""
        ...

    def refused(self, code: int, reason: str) -> None:
        """The peer broke the protocol, and the socket is about to be closed."""
        ...


class LiveSocket(WebSocketsSansIOProtocol):
    """One WebSocket."""

    settings: BridgeSettings

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.close_timeout = self.settings.linger
        self.user: SocketUser | None = None
        self.bucket = TokenBucket(
            self.settings.messages_per_second, self.settings.message_burst, self.loop.time()
        )
        self._cut_off: asyncio.TimerHandle | None = None

    # What the bridge does.

    @property
    def is_blocked(self) -> bool:
        """Whether as much waits as may."""
        return not self.writable.is_set()

    @property
    def is_open(self) -> bool:
        """Whether frames may be sent."""
        return self.handshake_complete and not (
            self.close_sent or self.disconnected or self.transport.is_closing()
        )

    def write(self, data: bytes) -> None:
        """Send whole frames. Never waits."""
        if self.is_open:
            self.transport.write(data)

    def finish(self, code: int, reason: str) -> None:
        """Close with a reason. What waits may still be read for a moment."""
        if not self.is_open:
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.stop_keepalive()
        self.conn.send_close(code, reason[:MAX_REASON])
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.settings.linger, self.abort)

    def abort(self) -> None:
        """Cut off, whatever waits."""
        if not self.disconnected:
            self.transport.abort()

    def forget_handshake(self) -> None:
        """Let go of the headers, which are kept three times over: half of what a quiet browser costs."""
        self.scope["headers"] = []
        del self.request, self.response

    def may_speak(self) -> bool:
        """Whether one more message is within the rate; closes the socket when not."""
        if self.bucket.take(self.loop.time()):
            return True
        if self.is_open:
            if self.user is not None:
                self.user.refused(FAIL_RATE, "too many messages")
            self.finish(FAIL_RATE, "too many messages")
        return False

    # What uvicorn calls.

    def connection_made(self, transport: BaseTransport) -> None:
        """Bound what the kernel and the transport hold for this peer."""
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.settings.send_buffer)
        self.transport.set_write_buffer_limits(high=self.settings.write_buffer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None
        super().connection_lost(exc)
        self.user = None

    def handle_connect(self, event: Any) -> None:
        """Give the application a way to this object."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions: dict[str, dict[object, object]] = {EXTENSION: {"socket": self}}
            self.scope["extensions"] = extensions | (self.scope.get("extensions") or {})

    def pause_writing(self) -> None:
        """Enough waits."""
        super().pause_writing()
        if self.user is not None:
            self.user.blocked()

    def resume_writing(self) -> None:
        """What waited is gone."""
        super().resume_writing()
        if self.user is not None:
            self.user.writable()

    def handle_ping(self) -> None:
        """Answer a ping, but not a flood of them."""
        if self.may_speak():
            super().handle_ping()

    def handle_close(self, event: Frame) -> None:
        """The peer closes."""
        super().handle_close(event)
        self._cut_off_later()

    def keepalive_timeout(self) -> None:
        """The peer is half-open: it answers no ping."""
        super().keepalive_timeout()
        self._cut_off_later()

    def handle_parser_exception(self) -> None:
        """The peer broke the protocol: say how before the close frame says it again."""
        close = self.conn.close_sent
        if self.user is not None and close is not None and self.is_open:
            self.user.refused(int(close.code), close.reason)
        super().handle_parser_exception()
        self._cut_off_later()

    def shutdown(self) -> None:
        """The server stops."""
        super().shutdown()
        self._cut_off_later()

    def _cut_off_later(self) -> None:
        if self._cut_off is None and not self.disconnected:
            self._cut_off = self.loop.call_later(self.settings.linger, self.abort)


def socket_class(settings: BridgeSettings) -> type[LiveSocket]:
    """LiveSocket with settings; uvicorn makes the instances itself."""
    return type("BoundLiveSocket", (LiveSocket,), {"settings": settings})
