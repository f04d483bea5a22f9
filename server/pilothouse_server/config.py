"""Everything that can be set, read once at the start from PILOTHOUSE_* variables and the command line."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pilothouse_server.adapters.notifying.hosts import AllowedHosts
from pilothouse_server.adapters.notifying.sealing import keys_of
from pilothouse_server.domain.platform import PlatformConfig
from pilothouse_server.ports import LogKeep
from pilothouse_server.services.retention import DAY_US, Policy

_ADDRESS = re.compile(r"(?:dns:///)?(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}")

_LINK = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?")
_NOT_REPEATED = frozenset({"secret_key", "redis_url", "database_url"})
"""Settings that may hold a secret, so that a wrong one is not shown."""

Port = Annotated[int, Field(ge=0, le=65535)]
Days = Annotated[float, Field(ge=0, le=36_500)]
Megabytes = Annotated[int, Field(ge=0, le=1 << 30)]
SHORTEST_DAYS = 1 / 24
"""Less than an hour is not kept for: repeats come later than that."""


class InvalidSettings(Exception):
    """One or more settings are wrong; the message names each and says what is allowed."""


class Settings(BaseSettings):
    """One process's settings. Each field is the variable PILOTHOUSE_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="PILOTHOUSE_", frozen=True, extra="ignore")

    data_dir: Path = Path("pilothouse-data")
    """Where the embedded log and database live. One process at a time."""
    redis_url: str = ""
    """The Redis of the event log, redis:// or rediss://; empty is the embedded log."""
    database_url: str = ""
    """The PostgreSQL database, postgresql://; empty is the embedded database."""
    log_shards: Annotated[int, Field(ge=1, le=64)] = 1
    """Into how many streams the Redis log is cut; all replicas need the same number."""
    host: str = "127.0.0.1"
    """The address that the gRPC server and the bridge listen on."""
    grpc_port: Port = 50051
    """0 is any free port."""
    http_port: Port = 8080
    """0 is any free port."""
    metrics_port: Port | None = None
    """For a server that runs without a bridge: where it answers /healthz, /readyz and /metrics; nowhere unless set."""
    server: str = "127.0.0.1:50051"
    """For a bridge that runs alone: the gRPC server that it is a client of; or several replicas, with commas."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins, besides the bridge's own, whose pages may use it; separated by commas."""
    dashboard_dir: Path | None = None
    """The built dashboard; by default the one that came with the package."""
    secret_key: Annotated[str, Field(repr=False)] = ""
    """What secrets of channels are encrypted with: 32 bytes in base64. With several, separated by commas, the first
    encrypts and all decrypt. Needed with PostgreSQL; the embedded database has a file of its own."""
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts that are not public and may be notified all the same: names, *.suffixes, addresses and networks, separated
    by commas."""
    external_url: str = ""
    """Where people reach the dashboard, for links in notifications; by default where the bridge listens."""
    start_timeout: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Seconds to wait at the start for a Redis or a PostgreSQL that does not answer yet."""
    agent_offline_after: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Seconds without a heartbeat until an agent is OFFLINE."""
    accept_deadline: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """Seconds until a command that no executor took is EXPIRED."""
    effect_deadline: Annotated[float, Field(ge=1, le=604_800)] = 3600.0
    """Seconds until a command that was taken and had no effect is EXPIRED."""
    engine_silent_after: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """Seconds without any report until an engine is silent."""
    batch_rate: Annotated[float, Field(ge=0.1, le=10_000)] = 1000.0
    """Commands a second that a batch gives unless it says otherwise."""
    batch_limit: Annotated[int, Field(ge=1, le=100_000)] = 20_000
    """Workflows in one batch at most."""
    dispatch_limit: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """Commands that one engine is given before it ended others."""
    subscribe_interval: Annotated[float, Field(ge=0.25, le=60)] = 5.0
    """Seconds between two snapshots to a subscriber that did not say."""
    idle_tick: Annotated[float, Field(ge=0.1, le=1)] = 1.0
    """Seconds between two snapshots while nothing happens."""
    live_interval: Annotated[float, Field(ge=0.25, le=60)] = 1.0
    """Seconds between the metrics that the bridge sends to browsers."""
    drain_grace: Annotated[float, Field(ge=0, le=300)] = 5.0
    """Seconds that calls under way are given when the process is asked to end."""
    keep_events_days: Days = 7.0
    """Days that events are kept after they were received; 0 is for ever, here and in what follows."""
    keep_events: Annotated[int, Field(ge=0)] = 5_000_000
    """Events that are kept at most, but for those of the last 15 minutes; 0 is no limit."""
    keep_workflows_days: Days = 30.0
    """Days that finished workflows and their tasks are kept after anything in them changed."""
    keep_commands_days: Days = 90.0
    """Days that commands are kept after they ended."""
    keep_alerts_days: Days = 90.0
    """Days that alerts are kept after they were resolved."""
    keep_agents_days: Days = 1.0
    """Days that agents are kept after they were last heard."""
    keep_executors_days: Days = 30.0
    """Days that executors are kept after they were last connected."""
    keep_log_days: Days = 1.0
    """Days that the log keeps what every consumer has read."""
    keep_log_mb: Megabytes = 4096
    """Megabytes, of each shard, that the log keeps of what every consumer has read; 0 is no limit."""
    log_cap_mb: Megabytes = 16_384
    """Megabytes, of each shard, beyond which the log gives up what was not read either; 0 is no limit."""
    log_level: str = "info"
    """debug, info, warning or error."""
    log_format: str = "text"
    """text or json."""

    @field_validator("allowed_origins", "webhook_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("webhook_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        AllowedHosts.parsed(value)
        return value

    @field_validator("secret_key")
    @classmethod
    def _keys(cls, value: str) -> str:
        keys_of(value)
        return value

    @field_validator("external_url")
    @classmethod
    def _link(cls, value: str) -> str:
        if value and not _LINK.fullmatch(value):
            raise ValueError(
                "is not http:// or https:// and a host, as https://pilothouse.example.com"
            )
        return value.rstrip("/")

    @field_validator("server")
    @classmethod
    def _addresses(cls, value: str) -> str:
        wrong = [each for each in value.split(",") if not _ADDRESS.fullmatch(each.strip())]
        if wrong:
            raise ValueError(f"{wrong[0].strip()!r} is not host:port, as 10.0.0.7:50051")
        return value

    @field_validator(
        "keep_events_days",
        "keep_workflows_days",
        "keep_commands_days",
        "keep_alerts_days",
        "keep_agents_days",
        "keep_executors_days",
        "keep_log_days",
    )
    @classmethod
    def _long_enough(cls, value: float) -> float:
        if 0 < value < SHORTEST_DAYS:
            raise ValueError("must be 0, which is for ever, or at least an hour: 0.042")
        return value

    @field_validator("log_cap_mb")
    @classmethod
    def _above_size(cls, value: int, info: ValidationInfo) -> int:
        size: int = info.data.get("keep_log_mb", 0)
        if value and value <= size:
            raise ValueError(f"must be more than PILOTHOUSE_KEEP_LOG_MB, which is {size}, or 0")
        return value

    @property
    def platform(self) -> PlatformConfig:
        """How the platform behaves until somebody sets it otherwise."""
        return PlatformConfig(
            agent_offline_after_us=_micros(self.agent_offline_after),
            engine_silent_after_us=_micros(self.engine_silent_after),
            accept_us=_micros(self.accept_deadline),
            effect_us=_micros(self.effect_deadline),
            batch_rate=self.batch_rate,
            batch_limit=self.batch_limit,
            dispatch_limit=self.dispatch_limit,
            subscribe_interval_us=_micros(self.subscribe_interval),
            idle_tick_us=_micros(self.idle_tick),
            keep_events_us=_days(self.keep_events_days),
            keep_event_count=self.keep_events,
            keep_workflows_us=_days(self.keep_workflows_days),
            keep_commands_us=_days(self.keep_commands_days),
            keep_alerts_us=_days(self.keep_alerts_days),
            keep_agents_us=_days(self.keep_agents_days),
        )

    @property
    def retention(self) -> Policy:
        """What is kept until somebody sets it otherwise."""
        return Policy(
            executors_us=_days(self.keep_executors_days),
            log=LogKeep(_days(self.keep_log_days), self.keep_log_mb << 20, self.log_cap_mb << 20),
        ).configured(self.platform)

    @field_validator("log_level", "log_format")
    @classmethod
    def _one_of(cls, value: str, info: ValidationInfo) -> str:
        allowed = {
            "log_level": ("debug", "info", "warning", "error"),
            "log_format": ("text", "json"),
        }
        choices = allowed[info.field_name or ""]
        if value.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value.lower()

    @property
    def exposed(self) -> bool:
        """Whether others than this machine can reach what is listened on."""
        if self.host == "localhost":
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return True


def _days(days: float) -> int:
    return round(days * DAY_US)


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def read_settings(**overrides: object) -> Settings:
    """The settings from the environment, with those of the command line over them. Raises InvalidSettings."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type] # pydantic judges the values
    except ValidationError as error:
        lines = [
            f"PILOTHOUSE_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            + ("" if problem["loc"][0] in _NOT_REPEATED else f" (it is {problem['input']!r})")
            for problem in error.errors()
        ]
        raise InvalidSettings("\n".join(lines)) from error
