"""The proxy between two processes does what its mode says, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.servers.proxy import Proxy
from tests.support import wait_until


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """In front of a server that says everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


async def said_back(proxy: Proxy, words: bytes) -> bytes:
    """What comes back until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(words)
    writer.write_eof()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


async def test_what_passes_is_whole(proxy: Proxy) -> None:
    words = bytes(range(256)) * 4096

    assert await said_back(proxy, words) == words


async def test_what_is_slow_is_whole_and_comes_later(proxy: Proxy) -> None:
    proxy.mode = "slow"
    begun = asyncio.get_running_loop().time()

    assert await said_back(proxy, b"x" * 20_000) == b"x" * 20_000
    assert asyncio.get_running_loop().time() - begun >= 5 * proxy.delay


async def test_what_is_frozen_comes_after_it(proxy: Proxy) -> None:
    proxy.mode = "freeze"
    said = asyncio.create_task(said_back(proxy, b"hello"))
    done, _ = await asyncio.wait([said], timeout=0.1)
    assert not done

    proxy.mode = "pass"

    assert await said == b"hello"


async def test_who_is_refused_is_hung_up_on(proxy: Proxy) -> None:
    proxy.mode = "refuse"
    try:
        answer = await said_back(proxy, b"hello")
    except ConnectionError:
        answer = b""

    assert answer == b""


async def test_a_cut_ends_the_connections_there_are_and_new_ones_pass(proxy: Proxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"

    await proxy.cut()

    async def ended() -> bool:
        try:
            return await reader.read(1) == b""
        except ConnectionError:
            return True

    await wait_until(ended, what="the end of the connection")
    writer.close()
    assert await said_back(proxy, b"again") == b"again"
