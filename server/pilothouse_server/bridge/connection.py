"""One WebSocket client: a place in each channel that it follows, and nothing else that grows.

`advance` gives it what comes after its place, unless enough already waits for it. Then its place stays where
it is, the channel goes on without it, and when the transport has sent what waited it goes on from there, from
the ring or from a snapshot.
"""

import time

from pilothouse.v1.live_pb2 import LiveError, LiveFrame, LiveSubscribed
from pilothouse.v1.live_pb2 import Ping as Pong
from pilothouse_server.bridge.channel import Channel, Place
from pilothouse_server.bridge.errors import BridgeError, word
from pilothouse_server.bridge.frames import Form, Frame, plain_frame
from pilothouse_server.bridge.live_requests import (
    Ping,
    Subscribe,
    Unsubscribe,
    from_bytes,
    from_text,
)
from pilothouse_server.bridge.live_socket import FAIL_ERRORS, LiveSocket
from pilothouse_server.bridge.plain_json import Names
from pilothouse_server.bridge.switchboard import Switchboard

STEP_BUDGET = 64 * 1024
REFUSALS = {
    1009: ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED"),
    4429: ("RESOURCE_EXHAUSTED", "RATE_LIMITED"),
}


class LiveConnection:
    """One client."""

    __slots__ = ("_board", "_errors", "_form", "_places", "_socket", "blocked_since")

    def __init__(self, socket: LiveSocket, board: Switchboard) -> None:
        self._socket = socket
        self._board = board
        self._form = Form.TEXT
        self._places: dict[Channel, Place | None] = {}
        self._errors = 0
        self.blocked_since: float | None = None

    @property
    def socket(self) -> LiveSocket:
        """Its socket."""
        return self._socket

    @property
    def form(self) -> Form:
        """How it wants the frames of channels."""
        return self._form

    async def receive(self, text: str | None, data: bytes | None) -> None:
        """Do what a message asks, or say why not."""
        if not self._socket.may_speak():
            return
        limit = self._board.settings.max_channels
        form = Form.BINARY if text is None else Form.TEXT
        try:
            ask = from_bytes(data or b"", limit) if text is None else from_text(text, limit)
            match ask:
                case Subscribe():
                    await self._subscribe(ask, form)
                case Unsubscribe():
                    self._unsubscribe(ask, form)
                case Ping(nonce):
                    self._answer("pong", LiveFrame(pong=Pong(nonce=nonce)), form)
        except BridgeError as error:
            self._refuse(error, form)
            self._errors += 1
            if self._errors >= self._board.settings.max_errors:
                self._socket.finish(FAIL_ERRORS, "too many requests in error")

    def advance(self, channel: Channel) -> None:
        """Give it what comes after its place."""
        socket = self._socket
        tally = self._board.tally
        while channel in self._places and not socket.is_blocked and socket.is_open:
            frames, place = channel.step(self._places.get(channel), self._form, STEP_BUDGET)
            self._places[channel] = place
            if not frames:
                return
            data = (
                frames[0].wire(self._form)
                if len(frames) == 1
                else b"".join(f.wire(self._form) for f in frames)
            )
            socket.write(data)
            tally.frames_sent += len(frames)
            tally.bytes_sent += len(data)
            if frames[0].type == "gap":
                tally.gaps += 1
            if place is channel.place:
                return

    def tell(self, channel: Channel, frame: Frame) -> None:
        """Give it a frame that has no place of its own, if it is at the end of the channel."""
        socket = self._socket
        place = self._places.get(channel)
        if not socket.is_blocked and (place is None or place.sequence == channel.sequence):
            self._write(frame, self._form)

    # Told by the socket.

    def blocked(self) -> None:
        """Enough waits for this client."""
        self.blocked_since = time.monotonic()
        self._board.stalled.add(self)

    def writable(self) -> None:
        """What waited is gone: go on from the places."""
        self.blocked_since = None
        self._board.stalled.discard(self)
        for channel in list(self._places):
            self.advance(channel)

    def refused(self, code: int, reason: str) -> None:
        """The client broke the protocol."""
        grpc_code, name = REFUSALS.get(code, ("INVALID_ARGUMENT", "MALFORMED_REQUEST"))
        self._refuse(
            BridgeError(grpc_code, name, reason or "the message breaks the protocol"), self._form
        )

    # Requests.

    async def _subscribe(self, ask: Subscribe, form: Form) -> None:
        channels = [self._channel(name) for name in ask.channels]
        if form is Form.TEXT and ask.names is Names.JSON:
            form = Form.TEXT_JSON_NAMES
        for channel in channels:
            await self._board.prepare(channel, form)
        self._form = form
        for channel in channels:
            self._places[channel] = ask.places.get(channel.name)
            self._board.follow(channel, self)
        self._answer("subscribed", LiveFrame(subscribed=self._followed()), form)
        for channel in channels:
            place = self._places[channel]
            nothing_new = not channel.ready or (
                place is not None
                and (place.epoch, place.sequence) == (channel.epoch, channel.sequence)
            )
            self.advance(channel)
            if nothing_new:
                self.tell(channel, self._board.progress(channel))

    def _unsubscribe(self, ask: Unsubscribe, form: Form) -> None:
        for channel in [self._channel(name) for name in ask.channels]:
            self._places.pop(channel, None)
            self._board.unfollow(channel, self)
        self._answer("unsubscribed", LiveFrame(unsubscribed=self._followed()), form)

    def _channel(self, name: str) -> Channel:
        channel = self._board.channels.get(name)
        if channel is None:
            known = ", ".join(self._board.channels)
            text = f"there is no channel {word(name)!r}; there are {known}"
            raise BridgeError(
                "INVALID_ARGUMENT",
                "UNKNOWN_CHANNEL",
                text,
                {"channel": word(name), "channels": known},
            )
        return channel

    def _followed(self) -> LiveSubscribed:
        return LiveSubscribed(channels=[channel.name for channel in self._places])

    def _refuse(self, error: BridgeError, form: Form) -> None:
        payload = LiveError(reason=error.reason, message=error.message, metadata=error.metadata)
        for violation in error.violations:
            payload.metadata["field"] = violation.field
        self._answer("error", LiveFrame(error=payload), form)
        self._board.tally.errors += 1

    def _answer(self, type_: str, live: LiveFrame, form: Form) -> None:
        self._board.stamp(live)
        self._write(plain_frame(type_, live), form)

    def _write(self, frame: Frame, form: Form) -> None:
        data = frame.wire(form)
        self._socket.write(data)
        self._board.tally.frames_sent += 1
        self._board.tally.bytes_sent += len(data)
