"""gzip for what is worth it: the dashboard's files, packed once, and long answers, packed fast.

Frames of the WebSocket are not packed: each client would need a window of its own, which costs more memory
than the connection, and bytes that are made once for all could not be.
"""

import functools
import gzip
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

LONG = 4 * 1024
FAST, SMALL = 1, 9
PACKED = {"content-encoding": "gzip", "vary": "accept-encoding"}


def takes_gzip(request: Request) -> bool:
    """Whether the client can unpack it."""
    codings = request.headers.get("accept-encoding", "").lower().replace(" ", "").split(",")
    return any(
        each == "gzip" or (each.startswith("gzip;q=") and each[7:8] == "1") for each in codings
    )


def answer(request: Request, body: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """A response, packed when it is long and the client takes it so."""
    if len(body) > LONG and takes_gzip(request):
        packed = gzip.compress(body, FAST, mtime=0)
        return Response(packed, media_type=media_type, headers=headers | PACKED)
    return Response(body, media_type=media_type, headers=headers)


def packed_beside(file: Path) -> Path:
    """Where the build of the dashboard puts what it packed with more time than a server has."""
    return file.with_name(f"{file.name}.gz")


@functools.lru_cache(maxsize=64)
def packed_file(file: Path) -> bytes:
    """A file whose name says what is in it, so that it never changes."""
    beside = packed_beside(file)
    return (
        beside.read_bytes()
        if beside.is_file()
        else gzip.compress(file.read_bytes(), SMALL, mtime=0)
    )
