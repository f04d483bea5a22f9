"""Which hosts notifications may go to: everything public, and of the rest what the setting names.

An address is judged by what it is, never by how it was written: `127.1`, `0x7f000001` and `::ffff:127.0.0.1` are one
address. A host name that is named in the setting may be private or loopback, which is where people run what they
notify. Link-local and multicast addresses, where clouds keep their metadata, need an address or a network of their own,
because whoever owns a name could point it there.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SETTING: Final = "PILOTHOUSE_WEBHOOK_HOSTS"
METADATA: Final = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
        ),
    )
)
"""Where clouds answer questions about the machine, its credentials among them: these are named one by one or not at
all."""
_NAT64: Final = ip_network("64:ff9b::/96")
_UNICAST: Final = ip_network("2000::/3")
"""Where all public addresses of version 6 are; what else `is_global` takes for public leads to translators."""
_NOT_PUBLIC: Final = (ip_network("192.0.0.0/29"), ip_network("192.0.0.8"), ip_network("3fff::/20"))
_NAME: Final = re.compile(
    r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*"
)
_NUMBER: Final = re.compile(r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+)){0,3}\.?", re.IGNORECASE)


class HostRefused(Exception):
    """Nothing is sent there; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """What the setting allows beside everything public."""

    names: tuple[str, ...] = ()
    """Lower case; `*.suffix` are all names below it."""
    networks: tuple[Network, ...] = ()

    @classmethod
    def parsed(cls, entries: Iterable[str]) -> AllowedHosts:
        """From the setting. Raises ValueError."""
        names: list[str] = []
        networks: list[Network] = []
        for entry in entries:
            try:
                networks.append(ip_network(entry.strip("[]")))
            except ValueError as error:
                name = _ascii(entry)
                if not _NAME.fullmatch(name) or "/" in entry or _NUMBER.fullmatch(name):
                    raise ValueError(
                        f"{entry!r} is no host name, *.suffix, address or network ({error})"
                    ) from error
                names.append(name)
        return cls(tuple(names), tuple(networks))

    def named(self, host: str) -> bool:
        """Whether the setting has this name, or a suffix of it."""
        name = _ascii(host)
        return any(
            name == each or (each.startswith("*.") and name.endswith(each[1:]))
            for each in self.names
        )

    def check_address(self, address: Address, host: str) -> None:
        """Raises HostRefused when nothing may be sent to this address, to which the host's name leads."""
        for one in _meant(address):
            if one in METADATA:
                allowed = any(
                    one in network and network.num_addresses == 1 for network in self.networks
                )
            elif one.is_link_local or one.is_multicast or one.is_unspecified or _reserved(one):
                allowed = self._within(one)
            else:
                allowed = _public(one) or self._within(one) or self.named(host)
            if not allowed:
                raise HostRefused(_refusal(host, one))

    def check_literal(self, host: str) -> None:
        """What can be said before a name is looked up. Raises HostRefused."""
        address = written(host)
        if address is not None:
            self.check_address(address, host)
            return
        name = _ascii(host)
        if not name or not _NAME.fullmatch(name):
            raise HostRefused(f"{host!r} is no host name")
        if (name == "localhost" or name.endswith(".localhost")) and not self.named(name):
            self.check_address(ip_address("127.0.0.1"), host)

    def check_url(self, url: str) -> None:
        """The same for the host of a URL of HTTP. Raises HostRefused."""
        scheme, host = _taken_apart(url)
        if scheme not in ("http", "https"):
            raise HostRefused(f"{scheme or 'no scheme'!r}: only http and https are sent to")
        self.check_literal(host)

    def _within(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def written(host: str) -> Address | None:
    """The address that a host is written as, in any of the forms that the system would take; None for a name."""
    bare = host.strip("[]").partition("%")[0]
    try:
        return ip_address(bare)
    except ValueError:
        pass
    if not _NUMBER.fullmatch(bare):
        return None
    try:
        return IPv4Address(socket.inet_aton(bare.rstrip(".")))
    except OSError:
        return None


def _taken_apart(url: str) -> tuple[str, str]:
    if not url.isascii():
        raise HostRefused(
            "the URL has letters that no URL has: write the host as xn--…, and é as %C3%A9"
        )
    if any(character <= " " or character in '\\"<>^`{|}\x7f' for character in url):
        raise HostRefused("the URL has characters that no URL has")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise HostRefused(f"no URL: {error}") from error
    if not parts.hostname:
        raise HostRefused("the URL has no host")
    return parts.scheme, parts.hostname


def _meant(address: Address) -> tuple[Address, ...]:
    """The address, and those that packets to it may end up at."""
    if isinstance(address, IPv4Address):
        return (address,)
    inner: list[Address] = []
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        inner.append(address.sixtofour)
    if address.teredo is not None:
        inner += address.teredo
    if address in _NAT64 or 1 < int(address) < 1 << 32:
        inner.append(IPv4Address(int(address) & 0xFFFF_FFFF))
        return tuple(inner)
    return (address, *inner)


def _public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return address.is_global and not any(address in network for network in _NOT_PUBLIC)


def _reserved(address: Address) -> bool:
    return isinstance(address, IPv4Address) and (
        address.is_reserved or address in ip_network("0.0.0.0/8")
    )


def _ascii(host: str) -> str:
    """The name as it is looked up."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        star = "*." if name.startswith("*.") else ""
        return star + name.removeprefix("*.").encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _refusal(host: str, address: Address) -> str:
    kind = (
        "a metadata address of a cloud" if address in METADATA
        else "loopback" if address.is_loopback
        else "link-local" if address.is_link_local
        else "multicast" if address.is_multicast
        else "unspecified" if address.is_unspecified
        else "not public"
    )  # fmt: skip
    only = address in METADATA or address.is_link_local or address.is_multicast
    name = str(address) if only or written(host) is not None else host
    where = str(address) if host == str(address) else f"{host} leads to {address}, which"
    return f"{where} is {kind}; if that is meant, add {name} to {SETTING}"
