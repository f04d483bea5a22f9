"""Everything about the bridge that can be set, with its limits: no limit of the bridge is without
a name
here.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSettings:
    """What a bridge is told. Durations are seconds, sizes are bytes."""

    server: str = "127.0.0.1:50051"
    """The gRPC server, as host:port; or its replicas, with commas: one is used until it cannot serve, then the next."""
    host: str = "127.0.0.1"
    """The address to listen on. On a loopback address only requests to a local name are answered."""
    port: int = 8080
    """The port to listen on; 0 takes a free one."""
    static_dir: Path | None = None
    """Where the built dashboard is; without it `/` says how to build it."""

    allowed_origins: frozenset[str] = frozenset()
    """Origins besides the bridge's own that browsers may use it from, such as
    "https://ops.example.org"."""
    allowed_hosts: frozenset[str] = frozenset()
    """Names, without port, that a request may be for besides local ones. Empty on a public
    address: any name."""

    metrics_interval: float = 1.0
    """The time between metrics frames."""
    workflows_backlog: int = 500
    """How many workflows a snapshot holds."""
    agents_backlog: int = 1_000
    """How many agents a snapshot holds."""
    alerts_backlog: int = 1_000
    stops_backlog: int = 100
    """How many alerts a snapshot holds."""
    events_backlog: int = 200
    """How many events a snapshot holds."""
    events_per_second: int = 1_000
    """How many events browsers are sent, over a few seconds; beyond it the newest are, and the
    rest is a counted gap."""
    events_batch: int = 200
    """How many events go into one frame."""
    events_pending: int = 2_000
    """How many events may wait for the next round; the oldest beyond that are left out, and
    counted in a gap."""
    ring_frames: int = 2_048
    """How many frames a channel keeps for those that come back."""
    ring_bytes: int = 8 * 1024 * 1024
    """How many bytes of frames, as protobuf, a channel keeps at most."""
    pace: float = 0.05
    """The least time between two rounds of one channel; what changes within it goes out together."""
    heartbeat: float = 5.0
    """After this time without a frame a channel sends a progress frame."""
    upstream_silence: float = 20.0
    """A stream of the server that says nothing for this long is opened again."""
    backoff_initial: float = 0.1
    """The wait before the first attempt to open a stream again; it doubles, with jitter."""
    backoff_max: float = 5.0
    """The longest wait between attempts."""
    snapshot_ttl: float = 300.0
    """Metrics older than this are not served."""

    max_connections: int = 12_000
    """WebSockets at the same time; more are refused with 503."""
    max_frame: int = 64 * 1024
    """The largest message from a WebSocket client; a larger one closes with 1009."""
    max_channels: int = 16
    """Channels named in one request."""
    messages_per_second: float = 20.0
    """Messages and pings from one WebSocket; more closes with 4429."""
    message_burst: int = 40
    """How many may come at once."""
    max_errors: int = 10
    """Requests in error from one WebSocket before it is closed with 4400."""
    send_buffer: int = 64 * 1024
    """The kernel's send buffer of a WebSocket, so that a stalled one is noticed early."""
    write_buffer: int = 64 * 1024
    """Bytes waiting for one WebSocket beyond which nothing more is given to it until they are gone."""
    stall_limit: float = 10.0
    """A WebSocket whose bytes wait for this long is closed with 4408; a stream of lines is cut off."""
    linger: float = 2.0
    """How long a closed WebSocket may take to read what is waiting for it before it is cut off."""
    ping_interval: float = 20.0
    """The time between pings to a WebSocket."""
    ping_timeout: float = 20.0
    """A WebSocket that does not answer a ping for this long is closed with 1011."""

    max_requests: int = 1_024
    """HTTP requests and connections at the same time, besides WebSockets; more are refused with 503."""
    max_body: int = 4 * 1024 * 1024 + 64 * 1024
    """The largest body of a request; more is 413."""
    request_timeout: float = 10.0
    """How long a connection may take to send the head of a request; more is 408."""
    body_timeout: float = 10.0
    """How long a body may take to come; more is 408."""
    call_timeout: float = 10.0
    """How long the server may take to answer; more is 504."""
    max_calls: int = 256
    """Calls to the server at the same time; more are refused with 429."""
    max_streams: int = 256
    """Streams of lines at the same time; more are refused with 429."""
    stream_timeout: float = 600.0
    """How long a stream of lines may take."""
    calls_per_second: float = 2_000.0
    """Calls to the server, of all clients together; more are refused with 429."""
    call_burst: int = 4_000
    """How many may come at once."""

    drain: float = 2.0
    """How long a stopping bridge gives its clients after it told them."""
    reconnect_spread: float = 5.0
    """Clients of a stopping bridge are told to come back at a moment of their own within this time."""
