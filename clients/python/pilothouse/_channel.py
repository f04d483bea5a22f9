"""How a channel to the server is made, for both clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

DEFAULT_TARGET = "127.0.0.1:50051"
"""Where a server listens unless it is told otherwise."""

DEFAULT_TIMEOUT = 10.0
"""Seconds that a unary call may take, retries included."""

OPTIONS: tuple[tuple[str, int | str], ...] = (
    # A page of 1,000 events may be larger than the 4 MiB that grpc allows by itself.
    ("grpc.max_receive_message_length", 32 << 20),
    # grpc waits up to two minutes before it connects again: too long for a page that a person looks at.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A server that is frozen, or whose machine is gone, says nothing: the connection is given up after 15 seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Without these a server runs megabytes ahead of a reader that stalls, and the reader is shown old news.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 128 << 10),
    # Retries are ours: they know which calls may be repeated.
    ("grpc.enable_retries", 0),
    # Two clients of one process do not share a connection, so that closing or breaking one leaves the other.
    ("grpc.use_local_subchannel_pool", 1),
)
"""What every channel is opened with. `grpc.min_reconnect_backoff_ms` is, in spite of its name, the time allowed to
connect."""


@dataclass(frozen=True)
class Tls:
    """How the server is recognised, and this client by it. With no field set: by the machine's own authorities."""

    ca_file: Path | None = None
    """PEM file of the authorities that may vouch for the server."""
    cert_file: Path | None = None
    """PEM file of this client's certificate chain, for mutual TLS."""
    key_file: Path | None = None
    """PEM file of this client's key."""
    server_name: str | None = None
    """The name in the server's certificate, where it is not the one in the target."""

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises OSError when one cannot be read."""
        return grpc.ssl_channel_credentials(
            _read(self.ca_file), _read(self.key_file), _read(self.cert_file)
        )

    def options(self) -> tuple[tuple[str, int | str], ...]:
        """What a channel with these needs beside the credentials."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
