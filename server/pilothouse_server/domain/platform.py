"""How the platform behaves: what can be changed while it runs. Times in microseconds.

What somebody set is stored as overrides, by the path of each field in the contract; all else is what the environment of
each replica says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from pilothouse_server.domain.errors import InvalidArgument

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US

VERSIONS_KEPT: Final = 1_000
"""Versions of the configuration; the oldest beyond are forgotten. What the audit log says of them stays."""


@dataclass(frozen=True, slots=True)
class PlatformConfig:
    """What is in force: every value is there."""

    agent_offline_after_us: int = 30_000_000
    """Without a heartbeat for longer an agent is offline."""
    engine_silent_after_us: int = 60_000_000
    """Without any report for longer an engine is silent."""
    accept_us: int = 60_000_000
    """From a command's request until an executor took it."""
    effect_us: int = 3_600_000_000
    """From the accept until the engine's event shows the effect."""
    batch_rate: float = 1_000.0
    """Commands a second that a batch gives unless it says otherwise."""
    batch_limit: int = 20_000
    """Workflows in one batch at most."""
    dispatch_limit: int = 10_000
    """Commands that one engine is given before it ended others."""
    subscribe_interval_us: int = 5_000_000
    """Between two snapshots to a subscriber that did not say."""
    idle_tick_us: int = 1_000_000
    """Between two ticks of the aggregator while nothing happens."""
    keep_events_us: int = 7 * DAY_US
    """Events, since they were received; 0 is for ever, here and in what follows."""
    keep_event_count: int = 5_000_000
    """The newest so many events; 0 is all."""
    keep_workflows_us: int = 30 * DAY_US
    """Finished workflows, since anything in them changed."""
    keep_commands_us: int = 90 * DAY_US
    """Commands, since they ended."""
    keep_alerts_us: int = 90 * DAY_US
    """Alerts, since they were resolved."""
    keep_agents_us: int = DAY_US
    """Agents, since they were heard."""


Overrides = Mapping[str, int | float]
"""What is set, by path: durations in microseconds, numbers as they are."""


class Setting(NamedTuple):
    """A field that can be set."""

    attribute: str
    """Of PlatformConfig."""
    duration: bool = True
    """Whether it is a time in microseconds; otherwise a number."""
    kept: bool = False
    """Whether it says for how long something is kept: 0 is for ever, and less than an hour nothing is."""


SETTINGS: Final[Mapping[str, Setting]] = {
    "agents.offline_after": Setting("agent_offline_after_us"),
    "agents.engine_silent_after": Setting("engine_silent_after_us"),
    "commands.accept_deadline": Setting("accept_us"),
    "commands.effect_deadline": Setting("effect_us"),
    "commands.batch_rate": Setting("batch_rate", duration=False),
    "commands.batch_limit": Setting("batch_limit", duration=False),
    "commands.dispatch_limit": Setting("dispatch_limit", duration=False),
    "metrics.subscribe_interval": Setting("subscribe_interval_us"),
    "metrics.idle_tick": Setting("idle_tick_us"),
    "retention.events": Setting("keep_events_us", kept=True),
    "retention.event_count": Setting("keep_event_count", duration=False),
    "retention.workflows": Setting("keep_workflows_us", kept=True),
    "retention.commands": Setting("keep_commands_us", kept=True),
    "retention.alerts": Setting("keep_alerts_us", kept=True),
    "retention.agents": Setting("keep_agents_us", kept=True),
}
"""In the order of the contract. The ranges of values are the contract's to say, but for what is said here."""


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """One version of what is set."""

    version: int = 0
    """From 1; 0 while nothing was ever set."""
    overrides: Overrides = field(default_factory=dict[str, int | float])
    actor: str = ""
    reason: str = ""
    create_us: int | None = None


class Change(NamedTuple):
    """A field that differs. The values are as in JSON, "" where it is not set."""

    field: str
    before: str
    after: str


def effective(defaults: PlatformConfig, overrides: Overrides) -> PlatformConfig:
    """What is in force: the overrides, and the defaults where there is none."""
    # A version that was written by a newer server may name what this one does not know.
    known: dict[str, Any] = {
        SETTINGS[path].attribute: value for path, value in overrides.items() if path in SETTINGS
    }
    return replace(defaults, **known)


def every_override(config: PlatformConfig) -> Overrides:
    """All that is in force, as if it were set."""
    return {path: getattr(config, each.attribute) for path, each in SETTINGS.items()}


def updated(before: Overrides, values: Overrides, paths: Sequence[str]) -> Overrides:
    """What is set after an update of these paths: one without a value is not set any more."""
    after = {path: value for path, value in before.items() if path not in paths}
    return after | {path: values[path] for path in paths if path in values}


def check(overrides: Overrides) -> None:
    """Raises InvalidArgument for what would remove everything at once."""
    for path, value in overrides.items():
        setting = SETTINGS.get(path)
        if setting is not None and setting.kept and 0 < value < HOUR_US:
            told = "must be 0, which is for ever, or at least an hour: repeats come later than that"
            raise InvalidArgument(f"config.{path}", told)


def differences(before: Overrides, after: Overrides) -> Sequence[Change]:
    """Field by field, in the order of the contract."""
    found = (
        Change(path, _shown(path, before), _shown(path, after))
        for path in [*SETTINGS, *sorted((before.keys() | after.keys()) - SETTINGS.keys())]
    )
    return [change for change in found if change.before != change.after]


def _shown(path: str, overrides: Overrides) -> str:
    value = overrides.get(path)
    if value is None:
        return ""
    if path in SETTINGS and SETTINGS[path].duration:
        return shown_duration(round(value))
    return repr(value)


def shown_duration(us: int) -> str:
    """As the JSON of the contract has it: seconds with 0, 3 or 6 digits behind the point, and an `s`."""
    seconds, rest = divmod(us, 1_000_000)
    if not rest:
        return f"{seconds}s"
    return f"{seconds}.{rest // 1000:03}s" if rest % 1000 == 0 else f"{seconds}.{rest:06}s"
