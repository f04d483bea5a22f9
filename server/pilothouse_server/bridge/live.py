"""/ws/monitoring: takes WebSockets in, and hands their messages to their connection."""

import logging
from collections.abc import MutableMapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from pilothouse_server.bridge.connection import LiveConnection
from pilothouse_server.bridge.errors import BridgeError, over_limit
from pilothouse_server.bridge.live_socket import EXTENSION, FAIL_FAULT, LiveSocket
from pilothouse_server.bridge.switchboard import Switchboard

logger = logging.getLogger(__name__)


class LiveEndpoint:
    """An ASGI application for one path."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One WebSocket, from handshake to end."""
        refusal = self._refusal()
        if refusal is not None:
            self._board.tally.refused += 1
            await refuse(scope, receive, send, refusal)
            return
        socket: LiveSocket = scope["extensions"][EXTENSION]["socket"]
        await receive()
        await send({"type": "websocket.accept"})
        socket.forget_handshake()
        connection = LiveConnection(socket, self._board)
        socket.user = connection
        self._board.add(connection)
        try:
            await self._converse(connection, receive)
        except Exception:
            socket.finish(FAIL_FAULT, "INTERNAL: a fault of the bridge; it was logged")
            raise
        finally:
            self._board.remove(connection)

    async def _converse(self, connection: LiveConnection, receive: Receive) -> None:
        while True:
            message: MutableMapping[str, Any] = await receive()
            if message["type"] == "websocket.disconnect":
                return
            await connection.receive(message.get("text"), message.get("bytes"))

    def _refusal(self) -> BridgeError | None:
        if self._board.draining:
            return BridgeError(
                "UNAVAILABLE", "DRAINING", "the bridge restarts: come back in a moment"
            )
        limit = self._board.settings.max_connections
        if len(self._board.connections) >= limit:
            error = over_limit(f"there are {limit} WebSockets already", limit)
            error.http_status = 503
            return error
        return None


async def refuse(scope: Scope, receive: Receive, send: Send, error: BridgeError) -> None:
    """Answer a handshake with an error that has a body."""
    response: Response = error.response()
    await WebSocket(scope, receive, send).send_denial_response(response)
