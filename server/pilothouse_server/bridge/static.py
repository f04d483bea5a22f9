"""The dashboard's files: hashed ones for ever, the page itself never without asking.

A path that is no file is a view of the dashboard, so it gets the page; unless it looks like a file or belongs
to the API.
"""

from pathlib import Path, PurePosixPath

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from pilothouse_server.bridge.errors import BridgeError
from pilothouse_server.bridge.gateway import no_such_method
from pilothouse_server.bridge.packing import PACKED, packed_beside, packed_file, takes_gzip

HASHED = "assets/"
TEXTS = frozenset({".js", ".css", ".svg", ".json"})
FOR_EVER = "public, max-age=31536000, immutable"
NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Pilothouse</title>
<h1>The dashboard is not built</h1>
<p>Run <code>make dashboard</code> in the source tree, or install the pilothouse-server wheel, which has it inside.</p>
<p>The API is here all the same: <a href="/openapi.json">its description</a>,
<a href="/api/v1/workflows">the workflows</a>.</p>
</html>
"""


class Dashboard:
    """Serves a folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def __call__(self, request: Request) -> Response:
        """Answer a request for a file or a view."""
        path = request.url.path.lstrip("/")
        if request.method not in {"GET", "HEAD"}:
            return no_such_method(request, {"GET", "HEAD"} if not path else set()).response()
        if self._folder is None or not (self._folder / "index.html").is_file():
            if path and PurePosixPath(path).suffix:
                return no_such_method(request, set()).response()
            return HTMLResponse(NOT_BUILT, 503, {"cache-control": "no-store"})
        try:
            return await self._file(request, path or "index.html")
        except BridgeError as error:
            return error.response()

    async def _file(self, request: Request, path: str) -> Response:
        files = StaticFiles(directory=self._folder, check_dir=False)
        try:
            response = await files.get_response(path, request.scope)
        except HTTPException:
            if PurePosixPath(path).suffix:
                raise no_such_method(request, set()) from None
            path = "index.html"
            response = await files.get_response(path, request.scope)
        response.headers["cache-control"] = FOR_EVER if path.startswith(HASHED) else "no-cache"
        return _packed(request, response) if isinstance(response, FileResponse) else response


def _packed(request: Request, response: FileResponse) -> Response:
    """The same with fewer bytes, where that is so and the client takes it."""
    file = Path(response.path)
    for_ever = response.headers["cache-control"] == FOR_EVER
    if not (file.suffix in TEXTS if for_ever else packed_beside(file).is_file()):
        return response
    response.headers["vary"] = "accept-encoding"
    if "range" in request.headers or not takes_gzip(request):
        return response
    headers = {"cache-control": response.headers["cache-control"], **PACKED}
    if for_ever:
        return Response(packed_file(file), media_type=response.media_type, headers=headers)
    # The same page in other bytes: the tag stays true of what it says.
    headers["etag"] = f"W/{response.headers['etag']}"
    body = packed_beside(file).read_bytes()
    return Response(body, media_type=response.media_type, headers=headers)
