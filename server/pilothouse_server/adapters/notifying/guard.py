"""Connections to allowed addresses only: a name is looked up once, every answer is judged, and one of those that were
judged is connected to. So a name that changes its answer between the look and the connection gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import ip_address

import httpcore
from httpcore import AnyIOBackend

from pilothouse_server.adapters.notifying.hosts import Address, AllowedHosts, written

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Every address of a name. Raises OSError when there is none."""


async def resolved(host: str, port: int) -> Sequence[Address]:
    """Every address of the host, as the system looks names up."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


class NameUnknown(httpcore.ConnectError):
    """Nobody knows an address of that name; the text names it."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """How an HTTP client connects."""

    def __init__(self, allowed: AllowedHosts, resolve: Resolve = resolved) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._network = AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises HostRefused, or what httpcore raises."""
        addresses = await self._addresses(host, port, timeout)
        for address in addresses:
            self._allowed.check_address(address, host)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 - the interface of httpcore, here and below
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.UnsupportedProtocol("no sockets of files")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int, within: float | None) -> Sequence[Address]:
        literal = written(host)
        if literal is not None:
            return [literal]
        self._allowed.check_literal(host)
        try:
            async with asyncio.timeout(within):
                return list(dict.fromkeys(await self._resolve(host, port)))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"the name {host} was not found in time") from error
        except OSError as error:
            raise NameUnknown(f"the name {host} is not known: {error.strerror}") from error
