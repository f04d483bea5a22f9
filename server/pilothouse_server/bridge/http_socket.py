"""The server's end of one HTTP connection, on uvicorn's own protocol, with a limit on how long a request may
take to come: uvicorn waits for ever for the first one, and for the rest of one that has begun.
"""

import asyncio
import json
from asyncio.transports import Transport
from typing import Any, cast

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from pilothouse_server.bridge.errors import BridgeError
from pilothouse_server.bridge.settings import BridgeSettings


class HttpSocket(H11Protocol):
    """One connection."""

    settings: BridgeSettings

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """The first request has to come."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A request that has begun has to be whole in time; its body has a limit of its own."""
        if not self._answers:
            self._arm()
        super().data_received(data)
        if self._answers:
            self._disarm()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on it is a WebSocket."""
        self._disarm()
        super().handle_websocket_upgrade(event)

    @property
    def _answers(self) -> bool:
        """Whether a request is being answered."""
        # Uvicorn says that there always is one, and begins without.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.settings.request_timeout, self._late)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self._answers or self.transport.is_closing():
            return
        text = f"the request did not come within {self.settings.request_timeout:g} s"
        body = json.dumps(
            BridgeError("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", text).body()
        ).encode()
        self.transport.write(
            b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        self.transport.close()


def http_class(settings: BridgeSettings) -> type[HttpSocket]:
    """HttpSocket with settings; uvicorn makes the instances itself."""
    return type("BoundHttpSocket", (HttpSocket,), {"settings": settings})
