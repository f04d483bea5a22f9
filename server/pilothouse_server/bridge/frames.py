"""Frames: made once for each wire form, however many sockets they go to.

A JSON frame is `{"type", "channel", "epoch", "sequence", "data", "timestamp"}`; frames about the connection
have neither channel nor place. `data` is the proto JSON of the payload with its zeros, so that what is absent
is not known, and with the field names of the contract or those of JSON. A binary frame is a LiveFrame. Bytes
include the WebSocket header: a server's frames are not masked, so they are the same for everyone.
"""

import json
import struct
from collections.abc import Callable
from enum import Enum

from google.protobuf.message import Message

from pilothouse.v1.live_pb2 import LiveFrame
from pilothouse_server.bridge.plain_json import Names, plain_json

_TEXT, _BINARY = 0x81, 0x82


class Form(Enum):
    """How a client wants its frames."""

    TEXT = "json"
    TEXT_JSON_NAMES = "json, with the field names of JSON"
    BINARY = "protobuf"

    @property
    def names(self) -> Names | None:
        """The field names of its JSON; None where it is not JSON."""
        return _NAMES.get(self)


_NAMES = {Form.TEXT: Names.CONTRACT, Form.TEXT_JSON_NAMES: Names.JSON}
DataWriter = Callable[[Names], bytes]


class Datum:
    """A message whose JSON is made at most once with each kind of names."""

    __slots__ = ("_json", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self._json: dict[Names, bytes] = {}

    def has_json(self, names: Names) -> bool:
        """Whether the JSON is there."""
        return names in self._json

    def json(self, names: Names) -> bytes:
        """The proto JSON."""
        made = self._json.get(names)
        if made is None:
            made = self._json[names] = plain_json(self.message, names)
        return made


class Frame:
    """One frame. `type` is the JSON type, `data` makes the JSON of the payload."""

    __slots__ = ("_data", "_wires", "live", "total", "type")

    def __init__(self, type_: str, live: LiveFrame, data: DataWriter, total: int = 0) -> None:
        self.type = type_
        self.live = live
        self.total = total
        """Changes or events in the channel up to here."""
        self._data = data
        self._wires: dict[Form, bytes] = {}

    def wire(self, form: Form) -> bytes:
        """The bytes that go to a socket."""
        made = self._wires.get(form)
        if made is None:
            names = form.names
            made = (
                websocket_frame(_BINARY, self.live.SerializeToString())
                if names is None
                else self._text(names)
            )
            self._wires[form] = made
        return made

    def data_json(self) -> bytes:
        """The JSON of the payload alone."""
        return self._data(Names.CONTRACT)

    def _text(self, names: Names) -> bytes:
        live = self.live
        head: dict[str, object] = {"type": self.type}
        if live.channel:
            head |= {"channel": live.channel, "epoch": live.epoch, "sequence": live.sequence}
        stamp = live.send_time.ToJsonString()
        body = b'%s,"data":%s,"timestamp":"%s"}' % (
            dumps(head)[:-1],
            self._data(names),
            stamp.encode(),
        )
        return websocket_frame(_TEXT, body)


def plain_frame(type_: str, live: LiveFrame) -> Frame:
    """A frame whose data is its payload message."""
    kind = live.WhichOneof("payload")
    if kind is None:
        message = "a frame needs a payload"
        raise ValueError(message)
    return Frame(type_, live, Datum(getattr(live, kind)).json)


def list_json(name: str, items: list[bytes], **others: object) -> bytes:
    """An object with one list, from the JSON of its items."""
    tail = dumps(others)[1:] if others else b"}"
    return b'{"%s":[%s]%s%s' % (name.encode(), b",".join(items), b"," if others else b"", tail)


def dumps(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def websocket_frame(first: int, payload: bytes) -> bytes:
    """A whole, unmasked frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload
