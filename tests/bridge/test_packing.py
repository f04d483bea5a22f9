"""What is long goes packed to those who take it so, and as it is to everyone else."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from starlette.requests import Request

from pilothouse_server.bridge.packing import answer, takes_gzip
from tests.bridge.support import staged


def asking(accepts: str) -> Request:
    headers = [(b"accept-encoding", accepts.encode())] if accepts else []
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("accepts", "taken"),
    [
        ("gzip", True),
        ("br, GZIP ,zstd", True),
        ("gzip;q=1.0, identity;q=0.5", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("x-gzip2", False),
    ],
)
def test_gzip_is_for_who_says_that_it_is_taken(accepts: str, taken: bool) -> None:
    assert takes_gzip(asking(accepts)) is taken


def test_a_long_answer_is_packed_and_a_short_one_is_not() -> None:
    long = b"[" + b'"RUNNING",' * 1_000 + b"0]"
    packed = answer(asking("gzip"), long, "application/json", {"cache-control": "no-store"})
    assert gzip.decompress(bytes(packed.body)) == long
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["cache-control"] == "no-store"
    for plain in (answer(asking(""), long, "a/b", {}), answer(asking("gzip"), b"{}", "a/b", {})):
        assert "content-encoding" not in plain.headers


async def test_the_dashboards_code_is_packed(tmp_path: Path) -> None:
    code = "export const words = 'the same again';" * 100
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "app-1.js").write_text(code)
    async with staged(static_dir=tmp_path) as stage, stage.http() as http:
        packed = await http.get("/assets/app-1.js", headers={"accept-encoding": "gzip"})
        plain = await http.get("/assets/app-1.js", headers={"accept-encoding": "identity"})
        piece = await http.get("/assets/app-1.js", headers={"range": "bytes=0-5"})
        head = await http.head("/assets/app-1.js", headers={"accept-encoding": "gzip"})
    assert packed.text == plain.text == code
    assert int(packed.headers["content-length"]) < 300 < len(code)
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == (
        "gzip",
        "accept-encoding",
    )
    assert packed.headers["cache-control"] == plain.headers["cache-control"]
    assert packed.headers["content-type"] == plain.headers["content-type"]
    assert plain.headers["vary"] == "accept-encoding"
    assert (piece.status_code, piece.text) == (206, "export")
    assert (head.status_code, head.text) == (200, "")


async def test_what_the_build_packed_is_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    for name, text in (("index.html", "<!doctype html>"), ("assets/app-1.js", "let a = 1;")):
        (tmp_path / name).write_text(text)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode() + b" packed"))
    async with staged(static_dir=tmp_path) as stage, stage.http() as http:
        code = await http.get("/assets/app-1.js", headers={"accept-encoding": "gzip"})
        page = await http.get("/", headers={"accept-encoding": "gzip"})
        again = await http.get("/", headers={"if-none-match": page.headers["etag"]})
        plain = await http.get("/", headers={"accept-encoding": "identity"})
    assert (code.text, page.text) == ("let a = 1; packed", "<!doctype html> packed")
    assert (page.headers["cache-control"], page.headers["vary"]) == ("no-cache", "accept-encoding")
    assert page.headers["content-type"] == plain.headers["content-type"]
    assert again.status_code == 304
    assert plain.text == "<!doctype html>"
