"""A TCP proxy in the test's own loop, to be put between two processes and made to misbehave."""

from __future__ import annotations

import asyncio
from typing import Literal, Self

Mode = Literal["pass", "slow", "freeze", "refuse"]

CHUNK = 64 << 10


class Proxy:
    """Listens on a free port and forwards to `target`, host and port, as `mode` says:

    `pass` at once; `slow` each piece `delay` seconds late, in pieces of `piece` bytes; `freeze` nothing, with all
    connections open, and goes on with what came meanwhile when the mode changes; `refuse` hangs up on who connects.
    `cut` ends all connections there are, in any mode.
    """

    def __init__(self, host: str, port: int, *, delay: float = 0.02, piece: int = 4096) -> None:
        self.target = (host, port)
        self.delay = delay
        self.piece = piece
        self.port = 0
        self._mode: Mode = "pass"
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def mode(self) -> Mode:
        """How it behaves now."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "freeze":
            self._flows.clear()
        else:
            self._flows.set()

    async def start(self) -> None:
        """Listens; a stopped one listens on its port again."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listens no more, and ends all connections."""
        if self._server is not None:
            self._server.close()
            await self.cut()
            await self._server.wait_closed()

    async def cut(self) -> None:
        """Ends all connections, in the middle of whatever they carry."""
        cut = list(self._connections)
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if self._mode != "refuse":
                await self._serve(reader, writer)
        except OSError:
            pass  # one of the two is gone, which the other sees by our hanging up
        except asyncio.CancelledError:
            # Cut. Nobody else waits for this task: the streams' own callback would log the cancellation as a fault.
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self.target)
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer)),
            asyncio.create_task(self._pump(far_reader, writer)),
        ]
        try:
            # One of the two may have said all it has to say while the other has not.
            await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            far_writer.transport.abort()
            raise
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK if self._mode != "slow" else self.piece):
            await self._flows.wait()
            if self._mode == "slow":
                await asyncio.sleep(self.delay)
            writer.write(data)
            await writer.drain()
        writer.write_eof()
